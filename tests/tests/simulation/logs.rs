//! No log line at the default level tells of a person: no id or tag of a box, no key, no session, no text.

use super::epochs::{receives, run_epochs, sends_all, small};
use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use veilpost_lab::simulation::{Nature, Setup, Simulation, Who};
use veilpost_pki::Params;
use veilpost_tests::logs::{Private, SHORT, forms, private, told};

/// Keeps what is logged at info and above, fields of spans too, whoever logs it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Lines {
    fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn push(&self, metadata: &Metadata<'_>, fields: impl FnOnce(&mut Fields)) {
        let mut line = Fields(format!("{} {}", metadata.level(), metadata.target()));
        fields(&mut line);
        self.0.lock().unwrap().push_str(&(line.0 + "\n"));
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.push(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        self.push(event.metadata(), |line| event.record(line));
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Fields(String::new());
        values.record(&mut line);
        self.0.lock().unwrap().push_str(&(line.0 + "\n"));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Days of twenty minutes, of which boxes live one.
fn short_lives(seed: u64) -> Setup {
    let setup = small(seed);
    let day = Duration::from_secs(1_200);
    Setup { mailboxes: 3, params: Params { day, digest_history: day, box_days: 1, ..setup.params }, ..setup }
}

const TEXTS: [&str; 4] = ["the heron is late", "meet me at the quay", "bring both keys", "burn this"];

/// What passed by and was kept while everything happened that happens to boxes, and what was logged meanwhile.
fn everything_happens(lines: &Lines) -> (Vec<Private>, String) {
    let mut simulation = Simulation::new(short_lives(100));
    let (bob, alice) = simulation.befriend(0, 1);
    let mut all = Vec::new();
    for (number, text) in TEXTS.into_iter().enumerate() {
        let now = simulation.now();
        simulation.client(0).send_text(now, &bob, text).unwrap();
        simulation.client(1).send_text(now, &alice, text).unwrap();
        match number {
            // Refused, and in conflict.
            0 => simulation.set_nature(0, Nature::Contradicts),
            1 => simulation.fill_disk(1, true),
            // Brought to the others, by those that have it, and asked for anew.
            2 => simulation.kill_node(Who::Mailbox(2), true),
            _ => simulation.restart_client(0),
        }
        run_epochs(&mut simulation, 6);
        simulation.set_nature(0, Nature::Honest);
        simulation.fill_disk(1, false);
        simulation.start_node(Who::Mailbox(2));
        for client in 0..2 {
            all.extend(private(simulation.client(client).store()).unwrap());
        }
    }
    assert!(receives(&mut simulation, 0, TEXTS.len()) && receives(&mut simulation, 1, TEXTS.len()));
    // A client's disk that takes nothing: replies, digests and frames cannot be kept.
    simulation.client(1).store().connection().execute_batch("PRAGMA query_only = ON").unwrap();
    let now = simulation.now();
    simulation.client(0).send_text(now, &bob, TEXTS[0]).unwrap();
    run_epochs(&mut simulation, 3);
    simulation.client(1).store().connection().execute_batch("PRAGMA query_only = OFF").unwrap();
    // Whatever was put expires, and clients are away for longer than digests are kept.
    simulation.disconnect(1);
    sends_all(&mut simulation, 0);
    run_epochs(&mut simulation, 130);
    simulation.connect(1);
    run_epochs(&mut simulation, 3);
    let counters: Vec<_> = (0..3).map(|mailbox| simulation.counters_of(mailbox)).collect();
    assert!(counters.iter().all(|counters| counters.stored > 0 && counters.copied > 0), "{counters:?}");
    assert!(counters.iter().any(|counters| counters.acknowledged > 0), "{counters:?}");
    for client in 0..2 {
        all.extend(private(simulation.client(client).store()).unwrap());
    }
    all.extend(simulation.private().map(|(what, bytes)| (what, bytes.to_vec())));
    all.sort();
    all.dedup();
    (all, lines.take())
}

#[test]
fn no_log_line_at_the_default_level_tells_an_id_a_key_a_session_or_a_text() {
    let lines = Lines::default();
    let (all, log) = tracing::subscriber::with_default(lines.clone(), || everything_happens(&lines));
    for what in ["box id", "box tag", "ack secret", "session address", "identity", "read_cap", "record"] {
        assert!(all.iter().any(|(kind, _)| *kind == what), "no {what} passed by");
    }
    assert!(all.len() > 1_000, "{}", all.len());
    for line in ["nothing is sent", "housekeeping failed", "a network document was refused"] {
        assert!(log.contains(line), "what is looked through is a log: {log}");
    }
    assert_eq!(told(&log, &all, SHORT), Vec::<String>::new(), "in\n{log}");
    for text in TEXTS.into_iter().chain(["heron", "quay"]) {
        assert!(!log.contains(text), "{log}");
    }
    // The search finds what it should, in whichever form it is written, if it comes the same way.
    let of = |what: &str| all.iter().find(|(kind, _)| *kind == what).unwrap().1.as_slice();
    let (id, tag) = (of("box id"), of("box tag"));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let control = |write: &dyn Fn()| {
        tracing::subscriber::with_default(lines.clone(), write);
        let line = lines.take();
        assert!(!told(&(log.clone() + &line), &all, SHORT).is_empty(), "{line}");
    };
    control(&|| tracing::info!(id = hex(id), "stored"));
    control(&|| tracing::warn!("tag {} is missing", hex(tag).to_uppercase()));
    control(&|| tracing::error!(id = ?id, "lost"));
    control(&|| tracing::error!("lost {id:#?}"));
    control(&|| tracing::info!("tag {tag:02x?}"));
    control(&|| drop(tracing::info_span!("put", id = ?&id[..8])));
    control(&|| tracing::info!("box {}", forms(id, SHORT)[4]));
    // A public id's short form is the first four bytes of it.
    control(&|| tracing::info!("NodeId({}..)", &hex(id)[..8]));
    tracing::subscriber::with_default(lines.clone(), || tracing::debug!(id = hex(id), "not at the default level"));
    assert!(lines.take().is_empty());
}
