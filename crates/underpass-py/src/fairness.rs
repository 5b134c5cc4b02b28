//! `fairness=`: who of those that wait gets what is given back.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The constructors' words for it, by the header's numbers.
const FAIRNESS: [&str; 3] = ["barging", "arrival", "priority"];

/// The header's number for a constructor's word.
pub fn number(fairness: &str) -> PyResult<u64> {
    let Some(number) = FAIRNESS.iter().position(|known| *known == fairness) else {
        let known = "pass 'barging', 'arrival' or 'priority'";
        return Err(PyValueError::new_err(format!("fairness={fairness:?}: {known}")));
    };
    Ok(number as u64)
}

/// The word for a header's number.
pub fn name(number: u64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| FAIRNESS.get(number)).unwrap_or(&"unknown")
}

/// For a repr: `, by arrival`, or nothing where whoever is quickest gets it.
pub fn told(number: u64) -> String {
    if number == 0 { String::new() } else { format!(", by {}", name(number)) }
}
