//! Whole networks of real processes. They wait most of the time, so `make test` runs them beside all other tests, which compute; it
//! tells the two apart by this module's name.

#[path = "."]
mod real_processes {
    mod authorities;
    mod mailboxes;
    mod network;
    mod observer;
}
