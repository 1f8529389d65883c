//! `-smp`: the missing counts are worked out as QEMU does for machines since 6.2 (cores before sockets).

use crate::UsageError;
use crate::config::Topology;
use crate::keyval::KeyVal;

/// The most vCPUs the machine models take (8-bit APIC identifiers, 255 is broadcast).
pub(crate) const MAX_CPUS: u64 = 255;

pub(crate) fn parse(text: &str) -> Result<Topology, UsageError> {
    let mut k = KeyVal::parse("smp", text, Some("cpus"))?;
    let mut get = |key| -> Result<Option<u64>, UsageError> {
        let n = k.take_number(key)?;
        if n == Some(0) {
            return Err(k.bad(key, "0", "CPU topology parameters must be greater than zero"));
        }
        Ok(n)
    };
    let cpus = get("cpus")?;
    let maxcpus = get("maxcpus")?;
    let sockets = get("sockets")?;
    let cores = get("cores")?;
    let threads = get("threads")?;
    for level in ["drawers", "books", "dies", "clusters", "modules"] {
        if get(level)?.is_some_and(|n| n != 1) {
            return Err(k.error(&format!("{level} above 1 are not supported by this machine")));
        }
    }
    let error = |why: String| k.error(&why);
    let over = || error(format!("the machine supports at most {MAX_CPUS} CPUs"));
    let total = maxcpus.or(cpus);
    let (sockets, cores, threads) = match total {
        None => (sockets.unwrap_or(1), cores.unwrap_or(1), threads.unwrap_or(1)),
        Some(total) => fill(total, sockets, cores, threads).ok_or_else(over)?,
    };
    let product = sockets.checked_mul(cores).and_then(|p| p.checked_mul(threads)).ok_or_else(over)?;
    let maxcpus = maxcpus.or(cpus).unwrap_or(product);
    let cpus = cpus.unwrap_or(maxcpus);
    if product != maxcpus {
        return Err(error(format!(
            "sockets ({sockets}) * cores ({cores}) * threads ({threads}) must equal maxcpus ({maxcpus})"
        )));
    }
    if cpus > maxcpus {
        return Err(error(format!("cpus ({cpus}) must not exceed maxcpus ({maxcpus})")));
    }
    if maxcpus > MAX_CPUS {
        return Err(over());
    }
    k.finish()?;
    let n = |v: u64| v as u32; // at most 255 by the checks above
    Ok(Topology { cpus: n(cpus), maxcpus: n(maxcpus), sockets: n(sockets), cores: n(cores), threads: n(threads) })
}

fn fill(total: u64, sockets: Option<u64>, cores: Option<u64>, threads: Option<u64>) -> Option<(u64, u64, u64)> {
    let part = |a: u64, b: u64| Some((total / a.checked_mul(b)?).max(1));
    Some(match (sockets, cores, threads) {
        (s, None, t) => {
            let (s, t) = (s.unwrap_or(1), t.unwrap_or(1));
            (s, part(s, t)?, t)
        }
        (None, Some(c), t) => {
            let t = t.unwrap_or(1);
            (part(c, t)?, c, t)
        }
        (Some(s), Some(c), None) => (s, c, part(s, c)?),
        (Some(s), Some(c), Some(t)) => (s, c, t),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(cpus: u32, maxcpus: u32, sockets: u32, cores: u32, threads: u32) -> Topology {
        Topology { cpus, maxcpus, sockets, cores, threads }
    }

    #[test]
    fn missing_counts_are_worked_out() {
        assert_eq!(parse("cores=2").unwrap(), t(2, 2, 1, 2, 1));
        assert_eq!(parse("4").unwrap(), t(4, 4, 1, 4, 1));
        assert_eq!(parse("8,sockets=2").unwrap(), t(8, 8, 2, 4, 1));
        assert_eq!(parse("2,maxcpus=8,threads=2").unwrap(), t(2, 8, 1, 4, 2));
        assert_eq!(parse("sockets=2,cores=2,threads=2").unwrap(), t(8, 8, 2, 2, 2));
    }

    #[test]
    fn nonsense_is_named() {
        for bad in ["0", "cores=0", "3,sockets=2", "4,maxcpus=2", "9999", "x", "4,dies=2", "4,corse=2"] {
            let e = parse(bad).unwrap_err().0;
            assert!(e.starts_with(&format!("-smp {bad}: ")), "{e}");
        }
    }
}
