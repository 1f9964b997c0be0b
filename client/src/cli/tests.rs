use super::{output::Terminal, *};
use crate::{
    api::fake,
    handle::{CoreEnd, CoreFuture, Refusal, RefusalCode},
    store::Store,
};
use serde_json::Value;
use std::{
    fs,
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};
use veilpost_packet::ids::AuthorityId;
use veilpost_pki::{
    Schedule,
    network::{NetworkAuthority, NetworkFile},
};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Ended {
    exit: Exit,
    out: String,
    err: String,
}

impl Ended {
    /// The one line of JSON on standard output.
    fn json(&self) -> Value {
        assert_eq!((self.exit, self.err.as_str()), (Exit::Done, ""), "{}", self.out);
        assert_eq!(self.out.lines().count(), 1, "{}", self.out);
        serde_json::from_str(&self.out).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        assert_eq!(self.exit, Exit::Done, "{}", self.err);
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refused(&self, exit: Exit, words: &str) {
        assert_eq!(self.exit, exit, "{} {}", self.out, self.err);
        assert!(self.err.starts_with("veilpost: ") && self.err.contains(words), "{}", self.err);
        assert_eq!(self.err.trim_end().lines().count(), 1, "{}", self.err);
        assert_eq!(self.out, "");
    }
}

struct World {
    dir: tempfile::TempDir,
    daemon: Option<(JoinHandle<Exit>, Memory, Memory)>,
}

impl World {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let network = NetworkFile {
            name: "test".into(),
            faulty: 0,
            schedule: Schedule { genesis: 0, epoch_ms: 3_600_000, phase_ms: 1_000 },
            authorities: vec![NetworkAuthority {
                id: AuthorityId([1; 32]),
                link_key: veilpost_packet::ids::LinkKey([1; 32]),
                address: ([127, 0, 0, 1], 9).into(),
            }],
            later: vec![],
            entries: vec![],
            tor: None,
        };
        fs::write(dir.path().join("network.toml"), network.to_text()).unwrap();
        fs::write(dir.path().join("pass"), "correct horse\n").unwrap();
        Self { dir, daemon: None }
    }

    fn with_account() -> Self {
        let world = Self::empty();
        let made = world.run(&["--json", "init", "--network", &world.path("network.toml"), "--name", "Alice"]);
        assert_eq!(made.json()["name"], "Alice");
        world
    }

    fn with_daemon() -> Self {
        let mut world = Self::with_account();
        world.start(fake::start);
        world
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn arguments(&self, arguments: &[&str]) -> (Vec<OsString>, Surroundings) {
        let pass = self.path("pass");
        let arguments = ["veilpost", "--passphrase-file", &pass].iter().chain(arguments).map(OsString::from).collect();
        let surroundings = Surroundings {
            veilpost_home: Some(self.dir.path().join("home")),
            temp_dir: self.dir.path().into(),
            user: Some("alice".into()),
            log: Some("off".into()),
            ..Surroundings::default()
        };
        (arguments, surroundings)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with("", arguments)
    }

    fn run_with(&self, input: &str, arguments: &[&str]) -> Ended {
        let (arguments, surroundings) = self.arguments(arguments);
        let (out, err) = (Memory::default(), Memory::default());
        let terminal = Terminal {
            input: Box::new(Cursor::new(input.as_bytes().to_vec())),
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            interactive: input == "y\n" || input == "n\n",
        };
        let exit = super::run(arguments, surroundings, terminal, fake::start);
        Ended { exit, out: out.text(), err: err.text() }
    }

    fn start(&mut self, core: StartCore) {
        let (arguments, surroundings) = self.arguments(&["daemon"]);
        let (out, err) = (Memory::default(), Memory::default());
        let (their_out, their_err) = (out.clone(), err.clone());
        let thread = std::thread::spawn(move || {
            let terminal = Terminal {
                input: Box::new(io::empty()),
                out: Box::new(their_out),
                err: Box::new(their_err),
                interactive: false,
            };
            super::run(arguments, surroundings, terminal, core)
        });
        while out.text() != "ready\n" && !thread.is_finished() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.daemon = Some((thread, out, err));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((thread, ..)) = self.daemon.take() {
            self.run(&["stop"]);
            let _ = thread.join();
        }
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let world = World::empty();
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["init"],
        &["send", "Bob"],
        &["send", "Bob", "text", "--file", "x"],
        &["send", "Bob", "text", "--wait", "read"],
        &["send", "Bob", "text", "--wait", "stored", "--timeout", "0"],
        &["safety"],
        &["accept"],
        &["completions", "cobol"],
    ] {
        let ended = world.run(arguments);
        assert_eq!(ended.exit, Exit::Usage, "{arguments:?}");
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_no_errors_and_help_has_examples() {
    let world = World::empty();
    let help = world.run(&["--help"]);
    assert_eq!((help.exit, help.err.as_str()), (Exit::Done, ""));
    assert!(help.out.contains("veilpost invite --name Bob") && help.out.contains("3 no daemon"));
    assert!(world.run(&["send", "--help"]).out.contains("--wait delivered --timeout 300"));
    assert_eq!(world.run(&["--version"]).out, concat!("veilpost ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(world.run(&["completions", "bash"]).out.contains("_veilpost"));
}

#[test]
fn without_a_daemon_every_question_says_how_to_start_one() {
    let world = World::with_account();
    for arguments in [
        &["status"][..],
        &["stop"],
        &["invite"],
        &["accept", "x"],
        &["contacts"],
        &["safety", "Bob"],
        &["verify", "Bob"],
        &["send", "Bob", "hi"],
        &["send", "Bob", "hi", "--wait", "stored"],
        &["inbox"],
        &["inbox", "--follow"],
    ] {
        world.run(arguments).refused(Exit::NoDaemon, "start it with `veilpost daemon`");
    }
}

#[test]
fn what_is_wrong_with_an_account_is_told_when_it_is_made_or_started() {
    let world = World::empty();
    world.run(&["daemon"]).refused(Exit::Refused, "veilpost init --network FILE");
    world.run(&["init", "--network", "/nonexistent"]).refused(Exit::Usage, "cannot read /nonexistent");
    world.run(&["init", "--network", &world.path("pass")]).refused(Exit::Refused, "is not a network file");
    let network = world.path("network.toml");
    fs::write(world.path("pass"), "\n").unwrap();
    world.run(&["init", "--network", &network]).refused(Exit::Usage, "write the passphrase into it");
    fs::write(world.path("pass"), "correct horse").unwrap();
    assert_eq!(world.run(&["init", "--network", &network, "--name", "\u{7}"]).exit, Exit::Usage);
    let made = world.run(&["init", "--network", &network]);
    assert!(made.out.contains("account of alice") && made.out.contains("veilpost daemon"));
    world.run(&["init", "--network", &network]).refused(Exit::Refused, "already holds an account");
    fs::write(world.path("pass"), "wrong horse").unwrap();
    world.run(&["daemon"]).refused(Exit::Refused, "wrong passphrase");
    world.run(&["init", "--network", &network]).refused(Exit::Refused, "wrong passphrase");
}

#[test]
fn an_interrupted_init_is_finished_by_the_next() {
    let world = World::empty();
    let (_, surroundings) = world.arguments(&[]);
    let source = crate::store::KeySource::Passphrase(crate::store::Passphrase::new(b"correct horse".to_vec()).unwrap());
    let home = surroundings.veilpost_home.unwrap();
    drop(Store::create(&home, &source, &mut os::rng().unwrap()).unwrap());
    world.run(&["daemon"]).refused(Exit::Refused, "run `veilpost init` again");
    assert_eq!(world.run(&["init", "--network", &world.path("network.toml")]).exit, Exit::Done);
}

#[test]
fn a_second_daemon_on_one_home_is_refused_and_the_first_goes_on() {
    let world = World::with_daemon();
    world.run(&["daemon"]).refused(Exit::Refused, "another veilpost already uses");
    world.run(&["daemon", "--background"]).refused(Exit::Refused, "another veilpost already uses");
    assert_eq!(world.run(&["status"]).exit, Exit::Done);
}

#[test]
fn a_daemon_starts_answers_and_stops() {
    let mut world = World::with_daemon();
    assert_eq!(world.run(&["stop"]).out, "stopped\n");
    let (thread, out, err) = world.daemon.take().unwrap();
    assert_eq!(thread.join().unwrap(), Exit::Done);
    assert_eq!((out.text().as_str(), err.text().as_str()), ("ready\n", ""));
    world.run(&["stop"]).refused(Exit::NoDaemon, "not running");
    world.start(fake::start);
    assert_eq!(world.run(&["--json", "stop"]).json()["stopped"], true);
}

#[test]
fn a_core_that_cannot_go_on_ends_its_daemon_with_the_reason() {
    fn broken(_: Store, _: CoreEnd) -> CoreFuture {
        Box::pin(async { Err(Refusal::new(RefusalCode::DiskFull, "the disk is full")) })
    }
    let mut world = World::with_account();
    world.start(broken);
    let (thread, out, err) = world.daemon.take().unwrap();
    assert_eq!((thread.join().unwrap(), out.text()), (Exit::Refused, String::new()));
    assert_eq!(err.text(), "veilpost: the disk is full\n");
}

#[test]
fn json_has_the_fields_that_scripts_rely_on() {
    let world = World::with_daemon();
    let status = world.run(&["--json", "status"]).json();
    let expected = r#"{"connected":true,"epoch":7,"transport":"mixnet","profile":"standard","queued":0,"warnings":["the clock is 3 s off"]}"#;
    assert_eq!(status, serde_json::from_str::<Value>(expected).unwrap());
    assert_eq!(world.run(&["--json", "invite"]).out, format!("{{\"link\":\"{}\"}}\n", "a".repeat(60)));
    let accepted = world.run(&["accept", "link", "--name", "Eve", "--json"]);
    assert_eq!(accepted.out, "{\"name\":\"Eve\",\"verified\":false}\n");
    let names: Vec<_> = world.run(&["--json", "contacts"]).lines().iter().map(|line| line["name"].clone()).collect();
    assert_eq!(names, ["Bob", "Broken", "Slow", "Eve"]);
    assert_eq!(world.run(&["--json", "safety", "bob"]).json()["digits"].as_str().unwrap().len(), 71);
    assert_eq!(world.run(&["--json", "verify", "Bob"]).out, "{\"name\":\"Bob\",\"verified\":true}\n");
    assert_eq!(world.run(&["--json", "send", "Bob", "hi"]).out, "{\"id\":3,\"state\":\"queued\"}\n");
    let inbox = world.run(&["--json", "inbox"]);
    assert_eq!(inbox.lines().len(), 3);
    assert_eq!(
        inbox.out.lines().nth(1).unwrap(),
        r#"{"id":2,"contact":"Bob","direction":"in","state":"received","kind":"file","text":null,"name":"../photo.jpg","size":7,"path":null,"at":"2023-11-14T22:13:20Z"}"#
    );
}

#[test]
fn a_profile_is_shown_with_its_cost_and_changed_after_one_question() {
    let world = World::with_daemon();
    let shown = world.run(&["profile"]);
    for words in ["standard", "metered", "347 MB", "27 s", "in use", "a crowd of its own"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    let asked = world.run_with("y\n", &["profile", "metered"]);
    assert!(
        asked.out.contains("Change to metered?") && asked.out.contains("from the next connection on"),
        "{}",
        asked.out
    );
    assert!(world.run(&["status"]).out.contains("standard, metered from the next connection on"));
    let refused = world.run_with("n\n", &["profile", "standard"]);
    assert!(refused.exit == Exit::Refused && refused.err.contains("nothing was changed"), "{}", refused.err);
}

#[test]
fn scripts_change_a_profile_without_a_question_and_never_by_accident() {
    let world = World::with_daemon();
    let json = world.run(&["--json", "profile"]).json();
    assert_eq!((&json["profile"], &json["costs"][1]["profile"]), (&"standard".into(), &"metered".into()));
    for arguments in
        [&["profile", "metered"][..], &["--json", "profile", "metered"], &["profile", "--yes"], &["profile", "fast"]]
    {
        assert_eq!(world.run(arguments).exit, Exit::Usage, "{arguments:?}");
    }
    assert_eq!(world.run(&["--json", "profile"]).json()["next_profile"], Value::Null);
    assert_eq!(world.run(&["--json", "profile", "metered", "--yes"]).json()["next_profile"], "metered");
    assert_eq!(world.run(&["--json", "status"]).json()["next_profile"], "metered");
}

#[test]
fn an_account_is_made_with_the_profile_that_was_asked_for() {
    let world = World::empty();
    let made = world.run(&["--json", "init", "--network", &world.path("network.toml"), "--profile", "metered"]);
    assert_eq!(made.json()["profile"], "metered");
    let bad = world.run(&["init", "--network", &world.path("network.toml"), "--profile", "cheap"]);
    assert_eq!(bad.exit, Exit::Usage);
}

#[test]
fn send_waits_for_the_state_it_is_told() {
    let world = World::with_daemon();
    let delivered = world.run(&["--json", "send", "Bob", "hi", "--wait", "delivered"]).json();
    assert_eq!(delivered["state"], "delivered");
    let told = world.run(&["send", "Bob", "hi", "--wait", "stored"]);
    assert!(told.out.starts_with("message 4 queued\nmessage 4 "), "{}", told.out);
    let slow = world.run(&["--json", "send", "Slow", "hi", "--wait", "stored", "--timeout", "1"]);
    slow.refused(Exit::TimedOut, "message 5 is not stored yet");
    let failed = world.run(&["--json", "send", "Broken", "hi", "--wait", "stored"]);
    failed.refused(Exit::Refused, "message 6 failed: it broke");
    let offline = world.run(&["--json", "send", "Slow", "disconnect", "--wait", "stored", "--timeout", "1"]);
    offline.refused(Exit::Unreachable, "the network cannot be reached");
}

#[test]
fn send_reads_standard_input_and_files_within_their_bounds() {
    let world = World::with_daemon();
    let sent = world.run_with("from a pipe\n", &["--json", "send", "Bob", "-"]).json();
    let text = world.run(&["--json", "inbox"]).lines()[2]["text"].clone();
    assert_eq!((sent["id"].clone(), text), (3.into(), "from a pipe\n".into()));
    let long = "x".repeat(crate::content::MAX_TEXT + 1);
    world.run_with(&long, &["send", "Bob", "-"]).refused(Exit::Refused, "longer than 64 KiB");
    world.run(&["send", "Bob", ""]).refused(Exit::Refused, "empty");
    fs::write(world.path("a b.txt"), vec![7; 5_000]).unwrap();
    let sent = world.run(&["send", "Bob", "--file", &world.path("a b.txt")]);
    assert_eq!(sent.out, "message 4 queued; stored in about 8 min, keep the daemon running\n");
    assert_eq!(world.run(&["--json", "inbox"]).lines()[3]["name"], "a b.txt");
    world.run(&["send", "Bob", "--file", "/nonexistent"]).refused(Exit::Usage, "cannot read /nonexistent");
    world.run(&["send", "Bob", "--file", &world.path("")]).refused(Exit::Usage, "is a folder");
    let large = fs::File::create(world.path("large")).unwrap();
    large.set_len(crate::store::files::MAX_FILE + 1).unwrap();
    world.run(&["send", "Bob", "--file", &world.path("large")]).refused(Exit::Refused, "larger than 64 MiB");
}

#[test]
fn refusals_have_their_exit_codes_and_say_what_to_do() {
    let world = World::with_daemon();
    world.run(&["safety", "Nobody"]).refused(Exit::Refused, "`veilpost contacts` lists them");
    world.run(&["send", "Nobody", "hi"]).refused(Exit::Refused, "no contact called “Nobody”");
    world.run(&["accept", "used"]).refused(Exit::Refused, "ask for a new one");
    world.run(&["accept", "offline"]).refused(Exit::Unreachable, "no entry answers");
}

#[test]
fn inbox_saves_received_files_inside_the_folder() {
    let world = World::with_daemon();
    let into = world.path("saved");
    let lines = world.run(&["--json", "inbox", "--save", &into]).lines();
    let path = PathBuf::from(lines[1]["path"].as_str().unwrap());
    assert_eq!(path, Path::new(&into).join("photo.jpg"));
    assert_eq!(fs::read(&path).unwrap(), fake::PHOTO);
    fs::write(&path, "mine now").unwrap();
    let again = world.run(&["inbox", "--save", &into]);
    assert!(again.out.contains("saved/photo (2).jpg"), "{}", again.out);
    assert_eq!(fs::read(&path).unwrap(), b"mine now");
}

#[test]
fn people_see_lines_without_control_characters() {
    let world = World::with_daemon();
    let inbox = world.run(&["inbox"]);
    assert!(!inbox.out.contains('\u{1b}'));
    assert!(inbox.out.contains("hello\u{fffd}[2J") && inbox.out.contains("[../photo.jpg, 7 B]"), "{}", inbox.out);
    let status = world.run(&["status"]).out;
    assert_eq!(
        status,
        "Connected  yes\nEpoch      7\nTransport  mixnet\nProfile    standard\nQueued     nothing\nWarning    the clock is 3 s off\n"
    );
    assert!(
        world
            .run(&["contacts"])
            .out
            .contains("Dave    not verified  invitation open: not answered, or not arrived yet")
    );
    assert!(world.run(&["safety", "Bob"]).out.contains("  12345 12345 12345 12345\n"));
    assert!(world.run(&["invite", "--qr"]).out.contains('█'));
}

#[test]
fn following_the_inbox_ends_with_the_daemon() {
    let mut world = World::with_daemon();
    let (arguments, surroundings) = world.arguments(&["--json", "inbox", "--follow"]);
    let (out, err) = (Memory::default(), Memory::default());
    let (out_end, err_end) = (Box::new(out.clone()), Box::new(err.clone()));
    let terminal = Terminal { input: Box::new(io::empty()), out: out_end, err: err_end, interactive: false };
    let follower = std::thread::spawn(move || super::run(arguments, surroundings, terminal, fake::start));
    while out.text().lines().count() < 2 {
        std::thread::sleep(Duration::from_millis(2));
    }
    world.run(&["stop"]);
    world.daemon.take().unwrap().0.join().unwrap();
    assert_eq!(follower.join().unwrap(), Exit::NoDaemon);
    assert!(err.text().contains("the daemon has ended"));
}

#[test]
fn transports_are_shown_with_who_learns_what_and_changed_after_one_question() {
    let world = World::with_daemon();
    let shown = world.run(&["transport"]);
    for words in
        ["mixnet (in use)", "mixnet-over-tor", "who watches all lines", "half of texts within", "by another way than"]
    {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    let asked = world.run_with("y\n", &["transport", "mixnet-over-tor"]);
    assert!(asked.out.contains("Change to mixnet-over-tor?") && asked.out.contains("none is lost"), "{}", asked.out);
    assert_eq!(world.run(&["--json", "status"]).json()["transport"], "mixnet-over-tor");
    let refused = world.run_with("n\n", &["transport", "mixnet"]);
    assert!(refused.exit == Exit::Refused && refused.err.contains("nothing was changed"), "{}", refused.err);
}

#[test]
fn a_transport_that_cannot_be_is_refused_with_the_reason_and_scripts_say_yes() {
    let world = World::with_daemon();
    let refused = world.run(&["transport", "tor", "--yes"]);
    assert!(refused.exit == Exit::Refused && refused.err.contains("no entry of this network"), "{}", refused.err);
    for arguments in [&["transport", "mixnet-over-tor"][..], &["--json", "transport", "tor"], &["transport", "--yes"]] {
        assert_eq!(world.run(arguments).exit, Exit::Usage, "{arguments:?}");
    }
    assert_eq!(world.run(&["--json", "transport"]).json()["transport"], "mixnet");
}

#[test]
fn an_account_that_could_never_connect_by_its_transport_is_not_made() {
    let world = World::empty();
    let refused = world.run(&["init", "--network", &world.path("network.toml"), "--transport", "tor"]);
    let told = if veilpost_onion::BUILT { "has an onion service" } else { "built without Tor" };
    assert!(refused.exit == Exit::Refused && refused.err.contains(told), "{}", refused.err);
}
