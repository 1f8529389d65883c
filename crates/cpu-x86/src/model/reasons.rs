//! Why a CPUID feature is not there, in words for `-cpu help` and for warnings.

use super::features::{Feature, Have};

/// Features that are never there, by reason.
const NEVER: &[(&str, &[&str])] = &[
    (
        "of processors that are gone, or withdrawn by their makers",
        &[
            "pn",
            "ia64",
            "mpx",
            "pcommit",
            "hle",
            "rtm",
            "tsx-ldtrk",
            "avx512pf",
            "avx512er",
            "avx512-vp2intersect",
            "3dnow",
            "3dnowext",
            "mmxext",
            "xop",
            "fma4",
            "tbm",
            "fxsr-opt",
            "misalignsse",
            "cr8legacy",
            "osvw",
            "xsaveerptr",
        ],
    ),
    (
        "no performance counters, debug store or processor trace",
        &["ds", "dtes64", "ds-cpl", "pdcm", "intel-pt", "perfctr-core"],
    ),
    ("power, frequency and temperature are the host's", &["acpi", "tm", "tm2", "pbe", "est"]),
    ("it would keep a thread of the host busy or asleep; guests idle by HLT", &["monitor", "waitpkg"]),
    ("no virtual machines inside of the guest", &["vmx", "svm"]),
    ("no enclaves and no measured launch", &["sgx", "smx"]),
    ("nothing in the machine that it would act on", &["cid", "xtpr", "dca", "core-capability"]),
    ("protection keys are not implemented", &["pku", "pks"]),
    ("five-level paging is not implemented", &["la57"]),
    ("the instructions are not implemented", &["avx-vnni", "clzero"]),
    (
        "a translator that does not speculate for the guest has nothing to flush or to disable",
        &["flush-l1d", "amd-ssbd", "virt-ssbd"],
    ),
];

/// Features that are there when asked for, by the reason why `max` is without them.
const ASKED: &[(&str, &[&str])] = &[
    ("set by -smp", &["ht", "cmp-legacy"]),
    ("belongs to models of AMD's", &["topoext", "null-sel-clr-base", "amd-no-ssb"]),
    (
        "guests write to it at every switch of tasks, and it has no effect",
        &["stibp", "ssbd", "ibpb", "ibrs", "amd-stibp"],
    ),
    ("a guest that relies on it cannot be moved to another host", &["invtsc"]),
    ("guests would move their clocks with it, and need not", &["tsc-adjust"]),
    ("few guests know it", &["cldemote", "serialize"]),
];

fn of(table: &[(&'static str, &[&str])], name: &str) -> Option<&'static str> {
    table.iter().find(|row| row.1.contains(&name)).map(|row| row.0)
}

/// Why the feature is not in `max` on this host; `None`: it is.
pub(super) fn reason(f: &Feature) -> Option<String> {
    match f.3 {
        Have::Yes => None,
        Have::Asked => Some(of(ASKED, f.0).unwrap_or("only when asked for").into()),
        Have::Host(_) if super::features::available(f.3) => None,
        Have::Host(_) => Some("this host's processor, or its operating system, is without it".into()),
        Have::No => Some(of(NEVER, f.0).unwrap_or("not implemented").into()),
    }
}

/// What `-cpu help` says of features that are not in `max`: each once, by reason.
pub(super) fn help(features: &[Feature]) -> String {
    let mut groups: Vec<(bool, String, Vec<&str>)> = Vec::new();
    for f in features {
        let Some(why) = reason(f) else { continue };
        let asked = f.3 == Have::Asked;
        match groups.iter_mut().find(|g| g.0 == asked && g.1 == why) {
            Some(group) => group.2.push(f.0),
            None => groups.push((asked, why, vec![f.0])),
        }
    }
    let mut text = String::new();
    for (asked, title) in [(true, "Only when asked for (+NAME), and why:"), (false, "Not available, and why:")] {
        text += &format!("\n{title}\n");
        for (_, why, names) in groups.iter().filter(|g| g.0 == asked) {
            text += &format!("  {why}:\n    {}\n", names.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::features::FEATURES;
    use super::*;

    #[test]
    fn every_feature_that_is_hidden_has_one_reason() {
        let all = |table: &[(&str, &[&'static str])]| table.iter().flat_map(|r| r.1.to_vec()).collect::<Vec<_>>();
        for (have, table) in [(Have::No, all(NEVER)), (Have::Asked, all(ASKED))] {
            let mut there: Vec<&str> = FEATURES.iter().filter(|f| f.3 == have).map(|f| f.0).collect();
            let mut said = table.clone();
            there.sort_unstable();
            said.sort_unstable();
            assert_eq!(said, there, "{have:?}");
        }
        let text = help(FEATURES);
        for f in FEATURES.iter().filter(|f| matches!(f.3, Have::No | Have::Asked)) {
            let count = text.split_whitespace().filter(|w| *w == f.0).count();
            assert_eq!(count, 1, "{}", f.0);
        }
    }
}
