#![allow(clippy::unwrap_used)]

use super::*;

const RUN: Run = Run { seed: 1, threads: 1 };

fn file(rest: &str) -> Result<Experiment, Impossible> {
    Experiment::parse(&format!("id = \"T\"\ntitle = \"t\"\nsource = \"s\"\nkind = \"routes\"\n{rest}"))
}

#[test]
fn all_files_that_ship_are_read_and_have_names_of_their_own() {
    let all = shipped();
    let mut ids: Vec<&str> = all.iter().map(|experiment| experiment.id.as_str()).collect();
    assert!(all.iter().all(|experiment| !experiment.adversary.is_empty() && !experiment.limits.is_empty()));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn a_case_takes_its_parameters_before_those_of_all_and_in_a_quick_run_the_quick_ones_before_both() {
    let experiment = file(
        "[parameters]\ncorrupt = 50\nlayers = 1\n[quick]\ncorrupt = 20\n\
         [[case]]\nname = \"a\"\n[[case]]\nname = \"b\"\nwith = { corrupt = 30 }\nquick = { corrupt = 40 }",
    )
    .unwrap();
    let p = |quick| {
        let report = experiment.run(&RUN, quick, None, None).unwrap();
        report.rows.iter().filter(|row| row.what.ends_with(": p")).map(|row| row.value).collect::<Vec<_>>()
    };
    assert_eq!((p(false), p(true)), (vec![0.5, 0.3], vec![0.2, 0.4]));
}

#[test]
fn a_figure_outside_its_tolerance_and_an_order_that_does_not_hold_are_not_met() {
    let experiment = file(
        "[parameters]\nlayers = 1\n\
         [[case]]\nname = \"a\"\nwith = { corrupt = 10 }\n\
         expect = [{ figure = \"p\", value = 0.1, tolerance = 0.01, source = \"x\" },\n\
                   { figure = \"p\", value = 0.2, tolerance = 0.01, source = \"y\" }]\n\
         [[case]]\nname = \"b\"\nwith = { corrupt = 20 }\n\
         [[order]]\nfigure = \"p\"\nfalling = [\"b\", \"a\"]\nby = 0.05\nsource = \"z\"\n\
         [[order]]\nfigure = \"p\"\nfalling = [\"a\", \"b\"]\nby = 0.05\nsource = \"z\"",
    )
    .unwrap();
    let report = experiment.run(&RUN, false, None, None).unwrap();
    let met = |of: &str| report.rows.iter().find(|row| row.what.contains(of)).unwrap().met;
    assert_eq!([met("[x]"), met("[y]"), met("b > a"), met("a > b")], [true, false, true, false]);
    assert!(!report.is_met());
}

#[test]
fn files_with_mistakes_are_refused_in_words() {
    let case = "[[case]]\nname = \"a\"\n";
    for (rest, word) in [
        (String::new(), "case"),
        ("case = []".into(), "no case"),
        (format!("{case}with = {{ corupt = 3 }}"), "corupt"),
        (format!("{case}with = {{ corrupt = 101 }}"), "101"),
        (format!("{case}expect = [{{ figure = \"p\", source = \"s\" }}]"), "one of"),
        (format!("{case}expect = [{{ figure = \"p\", value = 1.0, source = \"s\" }}]"), "one of"),
        (format!("{case}[[order]]\nfigure = \"p\"\nfalling = [\"a\", \"b\"]\nby = 0.0\nsource = \"s\""), "`b`"),
        (format!("{case}colour = 3"), "colour"),
    ] {
        let refused = file(&rest).unwrap_err().to_string();
        assert!(refused.contains(word), "{rest}: {refused}");
    }
    let unknown = file(&format!("{case}expect = [{{ figure = \"q\", at_least = 1.0, source = \"s\" }}]")).unwrap();
    assert!(unknown.run(&RUN, false, None, None).unwrap_err().to_string().contains("`q`"));
}
