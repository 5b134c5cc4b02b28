//! Prints after how many schedules each strategy finds each planted bug: median and most over 21 seeds.

#[path = "../tests/toy/planted.rs"]
mod planted;
#[path = "../tests/toy/mod.rs"]
mod toy;

const STRATEGIES: [&str; 7] = ["walk", "turns", "pct", "pos", "urw", "surw", "portfolio"];
const LIMIT: usize = 3000;

fn main() {
    println!("{:28}{}", "", STRATEGIES.map(|name| format!("{name:>15}")).concat());
    for bug in planted::all() {
        let cells = STRATEGIES.map(|strategy| {
            let mut found: Vec<_> =
                (0..21).map(|seed| bug.found_by(strategy, seed, LIMIT).unwrap_or(LIMIT + 1)).collect();
            found.sort_unstable();
            let missed = found.iter().filter(|at| **at > LIMIT).count();
            let most = if missed == 0 { format!("{}", found[20]) } else { format!("{missed}×—") };
            format!("{:>7} {most:>7}", if found[10] > LIMIT { "—".into() } else { found[10].to_string() })
        });
        println!("{:28}{}", bug.name, cells.concat());
    }
}
