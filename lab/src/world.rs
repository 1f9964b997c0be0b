//! Small worlds for experiments: the same six people, who do nothing or who write, and all that can be seen of them.

use crate::{
    capture::{Capture, Endpoint, Header, Mark, Row, Source, Unit, VERSION},
    simulation::{Packets, Setup, Simulation, Watch, Who},
};
use rand::Rng;
use std::time::Duration;
use veilpost_client::core::Event;
use veilpost_packet::{
    geometry::MIX_LAYERS,
    random::{EngineRng, exponential, seeded},
    time::Timestamp,
};
use veilpost_pki::Params;

/// What the six people do while they are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// 0 writes texts to 1, 2 and 3 write to each other, 4 sends a file to 5.
    Busy,
}

/// Who does what when people are busy: number of the client, and a word for it.
pub const ROLES: [(usize, &str); 6] = [
    (0, "sends texts"),
    (1, "receives texts"),
    (2, "talks"),
    (3, "talks"),
    (4, "sends a file"),
    (5, "receives a file"),
];
/// Who sends the file.
pub const FILE_WRITER: usize = 4;
/// Bytes of the file: some 93 boxes, so it takes most of a watch of 15 minutes at one Put slot in 8 s.
const FILE: usize = 300 << 10;
/// Mean time between two bursts of texts of one person.
const BURSTS: Duration = Duration::from_secs(45);
/// Nodes' loops come ten times more seldom than by default: they would be most of the work, and less cover is easier to see through.
const NODE_LOOPS: Duration = Duration::from_secs(10);
/// After friendships are made, before the watch begins: what is left of them has been sent by then.
const SETTLE: Duration = Duration::from_secs(180);

/// A world that was watched.
#[derive(Debug)]
pub struct World {
    /// The links.
    pub capture: Capture,
    /// The mailboxes' view and the truth.
    pub watch: Watch,
    /// When the watch began.
    pub from: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// The parameters in force.
    pub params: Params,
}

/// Lets six people make friends in pairs, and watches them for `time`.
pub fn watched(seed: u64, activity: Activity, time: Duration) -> World {
    watched_while(seed, activity, time, |_| {})
}

/// The same, with somebody who acts once a second of the watch.
pub fn watched_while(seed: u64, activity: Activity, time: Duration, mut act: impl FnMut(&mut Simulation)) -> World {
    // A connection is young for 15 minutes in a real network; all clients' downlinks are fast then, whatever they do.
    let params = Params { catch_up: Duration::from_secs(60), node_loop_gap: NODE_LOOPS, ..Params::standard() };
    let setup =
        Setup { seed, clients: ROLES.len(), packets: Packets::Model, params: params.clone(), ..Setup::default() };
    let mut simulation = Simulation::new(setup);
    let names: Vec<_> = (0..ROLES.len()).step_by(2).map(|one| simulation.befriend(one, one + 1)).collect();
    let begin = simulation.now() + SETTLE;
    simulation.run(begin, |_| false);
    (0..ROLES.len()).for_each(|client| drop(simulation.drain_events(client)));
    simulation.watch();
    let (from, until) = (simulation.now(), simulation.now() + time);
    let mut people = People::new(seed, from, &names, activity);
    let mut marks = Vec::new();
    simulation.run(until, |simulation| {
        people.act(simulation);
        act(simulation);
        marks.extend(events(simulation));
        false
    });
    let watch = simulation.take_watch();
    World { capture: capture(&simulation, &watch, seed, marks), watch, from, until, params }
}

/// Messages that came or changed since the last look, a second ago.
fn events(simulation: &mut Simulation) -> Vec<(usize, Timestamp)> {
    let now = simulation.now();
    let mut marks = Vec::new();
    for client in 0..simulation.clients() {
        let all = simulation.drain_events(client);
        marks.extend(all.iter().filter(|event| matches!(event, Event::Message(_))).map(|_| (client, now)));
    }
    marks
}

/// The writers of a busy world.
struct People {
    rng: EngineRng,
    /// Client, contact, time of the next burst.
    writers: Vec<(usize, String, Timestamp)>,
    file: Option<(usize, String)>,
}

impl People {
    fn new(seed: u64, now: Timestamp, names: &[(String, String)], activity: Activity) -> Self {
        let mut seed_bytes = [0x57; 32];
        seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut people = Self { rng: seeded(seed_bytes), writers: Vec::new(), file: None };
        let [first, second, third] = names else { return people };
        if activity == Activity::Busy {
            for (client, name) in [(0, &first.0), (2, &second.0), (3, &second.1)] {
                let at = now + exponential(&mut people.rng, BURSTS);
                people.writers.push((client, name.clone(), at));
            }
            people.file = Some((FILE_WRITER, third.0.clone()));
        }
        people
    }

    fn act(&mut self, simulation: &mut Simulation) {
        let now = simulation.now();
        if let Some((client, name)) = self.file.take() {
            let bytes: Vec<u8> = (0..FILE).map(|_| self.rng.random()).collect();
            let sent = simulation.client(client).send_file(now, &name, "file", "application/octet-stream", &bytes);
            sent.expect("a contact takes a file");
        }
        for (client, name, at) in &mut self.writers {
            if *at > now {
                continue;
            }
            *at = now + exponential(&mut self.rng, BURSTS);
            for _ in 0..self.rng.random_range(1..=3) {
                simulation
                    .client(*client)
                    .send_text(now, name, "a text of usual length")
                    .expect("a contact takes texts");
            }
        }
    }
}

fn role(simulation: &Simulation, who: Who) -> &'static str {
    match who {
        Who::Authority(_) => "authority",
        Who::Relay(number) if number < simulation.width() * MIX_LAYERS => "mix",
        Who::Relay(_) => "entry",
        Who::Mailbox(_) => "mailbox",
        Who::Client(_) => "client",
    }
}

fn number(who: Who) -> usize {
    match who {
        Who::Authority(number) | Who::Relay(number) | Who::Mailbox(number) | Who::Client(number) => number,
    }
}

/// What a watcher of all links wrote down.
fn capture(simulation: &Simulation, watch: &Watch, seed: u64, events: Vec<(usize, Timestamp)>) -> Capture {
    let relays = (0..simulation.relays()).map(Who::Relay);
    let mailboxes = (0..simulation.mailboxes()).map(Who::Mailbox);
    let all: Vec<Who> = (0..simulation.clients()).map(Who::Client).chain(relays).chain(mailboxes).collect();
    let index = |who: Who| all.iter().position(|other| *other == who).and_then(|at| u32::try_from(at).ok());
    let nanos = |at: Timestamp| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX);
    let endpoints = all.iter().map(|who| {
        let role = role(simulation, *who);
        Endpoint { name: format!("{role} {}", number(*who)), role: role.into() }
    });
    let row = |sight: &crate::simulation::Sight| {
        Some(Row { time_ns: nanos(sight.at), from: index(sight.from)?, to: index(sight.to)?, size: sight.size })
    };
    let marks = events.into_iter().filter_map(|(client, at)| {
        Some(Mark { time_ns: nanos(at), endpoint: index(Who::Client(client))?, what: "message".into() })
    });
    let header = Header {
        version: VERSION,
        source: Source::Simulation,
        unit: Unit::Frame,
        seed: Some(seed),
        endpoints: endpoints.collect(),
        marks: marks.collect(),
    };
    Capture { header, rows: watch.frames.iter().filter_map(row).collect() }
}
