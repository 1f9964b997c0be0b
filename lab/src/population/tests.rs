#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::{
    simulation::Asked,
    statistics::mean,
    world::{Activity, ROLES, watched},
};
use std::time::Duration;

/// Two hours: audits, repeats and absences have settled.
fn settled(clients: usize, habits: Habits) -> Setup {
    let warm_up = Duration::from_secs(2 * 3_600);
    Setup { clients, habits, warm_up, ..Setup::default() }
}

#[test]
fn a_population_writes_and_reads_as_often_as_the_clients_of_the_whole_simulation() {
    let time = Duration::from_secs(1_200);
    let world = watched(7, Activity::Idle, time);
    let hours = ROLES.len() as f64 * time.as_secs_f64() / 3_600.0;
    let count = |asked| world.watch.commands.iter().filter(|command| command.asked == asked).count() as f64;
    let whole = [Asked::Put, Asked::Get].map(count);
    let habits = Habits { contacts: 1, ..Habits::idle() };
    let setup = Setup { clients: 100, warm_up: Duration::from_secs(600), habits, ..Setup::default() };
    let model = live(&setup).unwrap();
    for (at, whole) in whole.into_iter().enumerate() {
        let expected = model.rates[at] * hours;
        // Copies follow their boxes: twice the variance of independent commands.
        assert!((whole - expected).abs() < 4.0 * (2.0 * expected).sqrt(), "{whole} of {expected}");
    }
    assert!((mean_age_whole(&world) - mean_age(&model)).abs() < 2.0, "{} {}", mean_age_whole(&world), mean_age(&model));
}

/// Seconds from the digest that names a box to its first Get, of boxes that are read soon.
fn mean_age(model: &Watched) -> f64 {
    let named: BTreeMap<Id, f32> = model.view.named.iter().map(|named| (named.id, named.at)).collect();
    let mut seen = std::collections::BTreeSet::new();
    let gets = model.view.requests.all.iter().filter(|request| request.asked == Asked::Get);
    let first = gets.filter(|request| seen.insert(request.id));
    let ages = first.filter_map(|request| Some(f64::from(request.at - named.get(&request.id)?)));
    mean(&ages.filter(|age| (0.0..SOON).contains(age)).collect::<Vec<_>>()).unwrap().value
}

const SOON: f64 = 60.0;

fn mean_age_whole(world: &crate::world::World) -> f64 {
    let tags: BTreeMap<_, _> = world.watch.named.iter().map(|(at, _, tag)| (*tag, *at)).collect();
    let mut seen = std::collections::BTreeSet::new();
    let gets = world.watch.commands.iter().filter(|command| command.asked == Asked::Get);
    let first = gets.filter(|command| seen.insert(command.id));
    let ages = first.filter_map(|command| {
        let named = tags.get(&veilpost_packet::boxes::BoxTag::of(&command.id?))?;
        Some(command.at.since(*named).as_secs_f64())
    });
    mean(&ages.filter(|age| *age < SOON).collect::<Vec<_>>()).unwrap().value
}

#[test]
fn whatever_people_do_frames_leave_as_often() {
    let rate = |habits| live(&Setup { clients: 60, habits, ..Setup::default() }).unwrap().rates.iter().sum::<f64>();
    let busy = Habits { active: 1.0, conversations: 20.0, files: 1.0, ..Habits::default() };
    let (idle, busy) = (rate(Habits::idle()), rate(busy));
    // 60 clients send some 187,000 frames in an hour: the ratio's standard deviation is 0.003.
    assert!((busy / idle - 1.0).abs() < 0.015, "{busy} {idle}");
}

#[test]
fn texts_and_files_are_read_and_a_file_takes_minutes() {
    let habits = Habits { active: 1.0, files: 0.2, ..Habits::default() };
    let watched = live(&Setup { clients: 60, habits, ..Setup::default() }).unwrap();
    let texts = watched.truth.messages.iter().filter(|message| message.boxes == 1 && message.said < 3_400.0);
    let (read, all) = texts.fold((0, 0), |(read, all), text| (read + u32::from(text.read.is_some()), all + 1));
    assert!(read * 100 > all * 95 && all > 500, "{read} of {all}");
    let took = watched.truth.transfers().map(|(_, file)| f64::from(file.read.unwrap() - file.said));
    let took = mean(&took.collect::<Vec<_>>()).unwrap().value;
    assert!((600.0..1_500.0).contains(&took), "{took}");
}

#[test]
fn who_polls_asks_for_one_box_many_times_and_who_follows_digests_does_not() {
    let askings = |reading| {
        let design = Design { reading, ..Design::default() };
        let watched = live(&Setup { clients: 20, design, ..Setup::default() }).unwrap();
        let mut asked: BTreeMap<Id, u32> = BTreeMap::new();
        let gets = watched.view.requests.all.iter().filter(|request| request.asked == Asked::Get);
        gets.for_each(|request| *asked.entry(request.id).or_default() += 1);
        asked.into_values().max().unwrap()
    };
    assert!(askings(Reading::Polls) > 50);
    assert!(askings(Reading::Digests) <= 4, "a Get, its repeat, an audit and its tries");
}

#[test]
fn who_is_offline_sends_nothing_and_reads_later_what_came_meanwhile() {
    let habits = Habits { online: 20.0, offline: 20.0, active: 1.0, ..Habits::default() };
    let watched = live(&settled(40, habits)).unwrap();
    let Lines { up, online, .. } = &watched.view.lines;
    for (frames, online) in up.iter().zip(online) {
        let within = |at: &&f32| online.iter().any(|(from, until)| (*from..=*until).contains(*at));
        assert_eq!(frames.iter().filter(within).count(), frames.len());
    }
    let waited = |message: &Message| message.read.is_some_and(|read| read - message.said > 300.0);
    assert!(watched.truth.messages.iter().filter(|message| waited(message)).count() > 10);
}

#[test]
fn additive_real_boxes_make_a_line_busier() {
    let habits = Habits { active: 1.0, conversations: 20.0, ..Habits::default() };
    let design = Design { decoys: Decoys::Additive, ..Design::default() };
    let watched = live(&Setup { clients: 40, habits, design, ..Setup::default() }).unwrap();
    assert!(watched.rates.iter().sum::<f64>() > 3_120.0 * 1.05, "{:?}", watched.rates);
}

#[test]
fn a_client_that_writes_again_only_what_was_lost_shows_the_loss_and_the_shipped_one_hardly() {
    let sendings = |copies, loss| {
        let design = Design { copies, ..Design::default() };
        let setup = Setup { clients: 40, habits: Habits::idle(), design, loss, ..Setup::default() };
        let watched = live(&setup).unwrap();
        let puts = watched.view.requests.all.iter().filter(|request| request.asked == Asked::Put);
        let boxes: std::collections::BTreeSet<Id> = puts.clone().map(|put| put.id).collect();
        puts.count() as f64 / (1.0 - loss) / boxes.len() as f64
    };
    assert!((sendings(Copies::OnLoss, 0.0) - 1.0).abs() < 0.02);
    assert!(sendings(Copies::OnLoss, 0.2) > 1.2);
    // 2.25, less what lies beyond the ends of the watch: a third sending comes ten minutes later on average.
    let planned = sendings(Copies::Planned, 0.0);
    assert!((2.05..2.3).contains(&planned), "{planned}");
}

#[test]
fn without_absences_every_decoy_is_read_soon() {
    let late = |absences| {
        let design = Design { absences, ..Design::default() };
        let setup = Setup { clients: 40, habits: Habits::idle(), design, ..Setup::default() };
        let watched = live(&setup).unwrap();
        crate::attacks::clusters::after_naming(&watched.view.requests.by_box(), &watched.view.named, 400.0).len()
    };
    assert!(late(true) > 50);
    assert_eq!(late(false), 0);
}

#[test]
fn one_seed_gives_one_population() {
    let run = || live(&Setup { clients: 10, ..Setup::default() }).unwrap().view.requests.all;
    assert_eq!(run(), run());
}

#[test]
fn impossible_populations_are_refused_in_plain_words() {
    let refused = |setup: Setup| live(&setup).unwrap_err().to_string();
    let ok = Setup::default;
    assert!(refused(Setup { clients: 1, ..ok() }).contains("clients"));
    assert!(refused(Setup { mailboxes: 1, ..ok() }).contains("mailboxes"));
    assert!(refused(Setup { loss: f64::NAN, ..ok() }).contains("lost packets"));
    assert!(refused(Setup { watch: Duration::ZERO, ..ok() }).contains("no time"));
    let habits = |habits: Habits| refused(Setup { habits, ..ok() });
    assert!(habits(Habits { contacts: 100, ..Habits::default() }).contains("contacts"));
    assert!(habits(Habits { active: f64::NAN, ..Habits::default() }).contains("active"));
    assert!(habits(Habits { conversations: -1.0, ..Habits::default() }).contains("negative"));
    assert!(habits(Habits { file_bytes: 0, ..Habits::default() }).contains("file"));
    assert!(habits(Habits { offline: 5.0, ..Habits::default() }).contains("never online"));
}
