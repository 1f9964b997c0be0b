//! People who are online for some minutes a day, on a network that loses some of what they send.

use super::{world::World, *};
use crate::store::messages::State;

/// Forty days in which Alice (0) is online for twelve minutes and Bob (1) for those and six minutes more in between, of whose
/// round trips one in ten fails; then days without losses. Gives how many texts did not come, came twice, and were not
/// receipted.
fn forty_days(seed: u8) -> (usize, usize, usize) {
    let mut world = World::befriended(2, 3);
    world.reseed(seed);
    world.loss = 10;
    let (mut said, mut ids) = ([Vec::new(), Vec::new()], Vec::new());
    let day = world.document.params.day;
    let write = |world: &mut World, said: &mut [Vec<String>; 2], person: usize, text: String| {
        let id = world.write(person, ["Bob", "Alice"][person], &text);
        said[person].push(text);
        (person, id)
    };
    for number in 0..40 {
        world.pass(day / 2 - world::STEP * 45);
        world.online = vec![false, true];
        ids.push(write(&mut world, &mut said, 1, format!("1 {number:02} alone")));
        world.steps(45);
        world.pass(day / 2 - world::STEP * 90);
        world.online = vec![true; 2];
        for round in 0..9 {
            for person in 0..2 {
                ids.push(write(&mut world, &mut said, person, format!("{person} {number:02} {round}")));
            }
            world.steps(10);
        }
    }
    world.loss = 0;
    for _ in 0..12 {
        world.pass(day - world::STEP * 90);
        world.steps(90);
    }
    let (mut lost, mut twice) = (0, 0);
    for (person, said) in said.iter().enumerate() {
        let came = world.read(1 - person);
        let times = |text: &String| came.iter().filter(|other| *other == text).count();
        lost += said.iter().filter(|text| times(text) == 0).count();
        twice += said.iter().filter(|text| times(text) > 1).count();
    }
    let open = ids.iter().filter(|(person, id)| world.state(*person, *id) != State::Delivered).count();
    (lost, twice, open)
}

#[test]
fn who_is_online_for_twelve_minutes_a_day_gets_every_text_once_and_every_receipt() {
    let all: Vec<_> = (0..3).map(forty_days).collect();
    assert_eq!(all, [(0, 0, 0); 3], "lost, twice, not receipted");
}
