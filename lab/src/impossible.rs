//! Parameters that no network can have. Every measurement checks its own before it starts, so that none of them ends in a figure that
//! looks right.

/// Why a run cannot be made, in words for a person.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub String);

/// Nothing to complain of, or the reason.
pub type Checked = Result<(), Impossible>;

fn unless(possible: bool, reason: impl FnOnce() -> String) -> Checked {
    if possible { Ok(()) } else { Err(Impossible(reason())) }
}

/// A number above zero that is not infinite.
///
/// # Errors
/// [`Impossible`], with the parameter's name.
pub fn positive(name: &str, value: f64) -> Checked {
    unless(value.is_finite() && value > 0.0, || format!("{name} is {value}; it must be above 0"))
}

/// A number from zero up that is not infinite.
///
/// # Errors
/// [`Impossible`], with the parameter's name.
pub fn not_negative(name: &str, value: f64) -> Checked {
    unless(value.is_finite() && value >= 0.0, || format!("{name} is {value}; it must be 0 or more"))
}

/// A share of one.
///
/// # Errors
/// [`Impossible`], with the parameter's name.
pub fn share(name: &str, value: f64) -> Checked {
    unless((0.0..=1.0).contains(&value), || format!("{name} is {value}; it must be a share from 0 to 1"))
}

/// A count between two bounds.
///
/// # Errors
/// [`Impossible`], with the parameter's name.
pub fn between(name: &str, value: usize, low: usize, high: usize) -> Checked {
    unless((low..=high).contains(&value), || format!("{name} is {value}; it must be {low} to {high}"))
}
