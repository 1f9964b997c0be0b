//! Somebody on every line of a real network, while some people write and others do nothing (E14 on real sockets).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::print_stdout, missing_docs)]

use std::{
    fs::File,
    time::{Duration, Instant},
};
use veilpost_lab::{
    capture::{Capture, Source},
    experiments::unobservability::{Line, compare, faster},
};
use veilpost_packet::random::seeded;
use veilpost_tests::{
    observer::{Observer, Watched},
    person::Person,
    scene::{SOON, Scene, alone},
    testnet::Shape,
};

/// How long lines are watched: some 800 frames of a client each way on a fast network.
const WATCH: Duration = Duration::from_secs(120);
/// Datagrams closer than this belong to one frame, which is four of them, or to two frames of two clocks.
const APART: f64 = 0.002;
/// Datagrams below this carry no part of a frame but acknowledgements: they follow what came, which is the other line's.
const ACKNOWLEDGEMENT: u32 = 300;
/// Chance gives a p-value below this in one of ten thousand comparisons; there are fifteen.
const CHANCE: f64 = 1e-4;

/// Frames on a line of datagrams: when each began, and how many bytes it had.
fn frames(capture: &Capture, client: u32, up: bool) -> Line {
    let mut line = Line::default();
    let mut last = f64::NEG_INFINITY;
    for (time, size) in capture.of(client, up).filter(|(_, size)| *size > ACKNOWLEDGEMENT) {
        match line.sizes.last_mut().filter(|_| time - last < APART) {
            Some(bytes) => *bytes += size,
            None => {
                line.times.push(time);
                line.sizes.push(size);
            }
        }
        last = time;
    }
    line
}

#[test]
fn lines_of_people_who_write_receive_or_do_nothing_look_alike_on_real_sockets() {
    let _alone = alone();
    // A connection is young for a second here, not for two minutes: young ones have fast downlinks.
    let params = vec![("catch_up".to_owned(), 1_000)];
    let scene = Scene::of(&Shape { fast: true, params, ..Shape::default() });
    let people = scene.folder.path().join("people");
    let mut idle: Vec<Person> = Vec::new();
    for name in ["Carol", "Dave"] {
        let mut person = Person::init(&people, name, &scene.network().network_file()).unwrap();
        person.start().unwrap();
        person.wait_connected(SOON).unwrap();
        idle.push(person);
    }
    std::thread::sleep(Duration::from_secs(2));
    let all = [&scene.alice, &scene.bob, &idle[0], &idle[1]];
    let watched = all.map(|person| Watched { name: person.name().into(), pid: person.pid().unwrap() });
    let observer = Observer::start(scene.network(), watched.to_vec()).unwrap();
    let begun = Instant::now();
    let file = scene.folder.path().join("picture.bin");
    std::fs::write(&file, vec![7; 60 << 10]).unwrap();
    scene.alice.json(&["send", "bob", "--file", file.to_str().unwrap()]).unwrap();
    for number in 0.. {
        scene.alice.json(&["send", "bob", &format!("text {number}")]).unwrap();
        std::thread::sleep(Duration::from_secs(6));
        if begun.elapsed() >= WATCH {
            break;
        }
    }
    let seen = observer.finish().unwrap();
    assert!(!scene.bob.received().unwrap().is_empty(), "somebody was busy");

    // Through the file, as the lab would read it.
    let path = scene.folder.path().join("lines.parquet");
    seen.write(File::create(&path).unwrap()).unwrap();
    let capture = Capture::read(File::open(&path).unwrap()).unwrap();
    assert_eq!((capture.header.source, &capture), (Source::Testnet, &seen));

    let line = |person: &Person, up: bool| {
        let line = frames(&capture, capture.endpoint(person.name()).unwrap(), up);
        assert!(line.times.len() > 300, "{} frames of {}, up {up}", line.times.len(), person.name());
        line
    };
    let first = capture.rows.first().unwrap().time_ns as f64 / 1e9;
    let span = (first, first + WATCH.as_secs_f64());
    let mut rng = seeded([14; 32]);
    let (carol, dave) = (&idle[0], &idle[1]);
    let pairs = [(&scene.alice, carol, "writes"), (&scene.bob, dave, "receives"), (carol, dave, "null")];
    for (one, other, what) in pairs {
        for up in [true, false] {
            let (one, other) = (line(one, up), line(other, up));
            for (what, p) in compare(&format!("{what}, up {up}"), &one, &other, span, &mut rng) {
                println!("{what}: p = {p:.4}");
                assert!(p > CHANCE, "{what}: p = {p}");
            }
        }
    }
    let (busy, quiet) = (line(&scene.alice, true), line(carol, true));
    // Twelve counts of ten seconds show no less.
    let caught = compare("as much again", &faster(&busy, 1.0, span, &mut rng), &quiet, span, &mut rng);
    println!("control: {caught:?}");
    assert!(caught.iter().all(|(_, p)| *p < CHANCE), "{caught:?}");
}
