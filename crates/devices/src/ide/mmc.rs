//! What the packets mean: the SCSI commands of a CD/DVD-ROM drive.
//!
//! INF-8090 / MMC-3 (T10 1363-D) section 6, SPC-2 (T10 1236-D) section 7. Left out: audio, writing, DVD structures
//! and keys, performance reports.

use serde::{Deserialize, Serialize};

use super::CdromConfig;
use super::packet::PacketState;

/// Sense key, additional code and qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense {
    pub(super) key: u8,
    pub(super) code: u8,
    pub(super) qualifier: u8,
}

const fn sense(key: u8, code: u8, qualifier: u8) -> Sense {
    Sense { key, code, qualifier }
}

pub(super) const MEDIUM_CHANGED: Sense = sense(6, 0x28, 0);
pub(super) const UNRECOVERED_READ: Sense = sense(3, 0x11, 0);
const NO_MEDIUM_CLOSED: Sense = sense(2, 0x3A, 1);
const NO_MEDIUM_OPEN: Sense = sense(2, 0x3A, 2);
const BAD_COMMAND: Sense = sense(5, 0x20, 0);
const OUT_OF_RANGE: Sense = sense(5, 0x21, 0);
const BAD_FIELD: Sense = sense(5, 0x24, 0);
const REMOVAL_PREVENTED: Sense = sense(5, 0x53, 2);

pub(super) const EVENT_NEW_MEDIA: u8 = 2;
pub(super) const EVENT_REMOVAL: u8 = 3;

const PROFILE_CD: u16 = 0x0008;
const PROFILE_DVD: u16 = 0x0010;
/// Sectors of the largest CD (80 minutes).
const CD_SECTORS: u32 = 80 * 60 * 75;
/// Frames before sector 0.
const PREGAP: u32 = 150;

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// CHECK CONDITION.
    Check(Sense),
    /// This goes to the host; nothing when empty.
    Data(Vec<u8>),
    /// REQUEST SENSE data: as `Data`, but the sense stays as the command left it.
    Sense(Vec<u8>),
    /// Sectors go to the host.
    Read { lba: u32, count: u32, raw: bool },
}

use Outcome::{Check, Data, Read};

fn be16(p: &[u8; 12], at: usize) -> u16 {
    u16::from_be_bytes([p[at], p[at + 1]])
}

fn be32(p: &[u8; 12], at: usize) -> u32 {
    u32::from_be_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]])
}

/// At most `allocation` bytes of `data`.
fn cut(mut data: Vec<u8>, allocation: usize) -> Outcome {
    data.truncate(allocation);
    Data(data)
}

fn ok() -> Outcome {
    Data(vec![])
}

/// Executes a packet.
pub(super) fn execute(c: &CdromConfig, s: &mut PacketState, p: &[u8; 12]) -> Outcome {
    const INQUIRY: u8 = 0x12;
    const REQUEST_SENSE: u8 = 0x03;
    const CONFIGURATION: u8 = 0x46;
    const EVENT_STATUS: u8 = 0x4A;
    if !matches!(p[0], INQUIRY | REQUEST_SENSE | EVENT_STATUS | CONFIGURATION)
        && let Some(attention) = s.attention.take()
    {
        return Check(attention);
    }
    let sectors = match &c.queue {
        Some(q) if !s.open => Some(u32::try_from(q.backend().size() / 2048).unwrap_or(u32::MAX)),
        _ => None,
    };
    match p[0] {
        INQUIRY => inquiry(c, p),
        REQUEST_SENSE => request_sense(s, p),
        0x1A => mode_sense(s, sectors, p[2], p[4].into(), false),
        0x5A => mode_sense(s, sectors, p[2], be16(p, 7).into(), true),
        0x1B => start_stop(c, s, p),
        0x1E => {
            s.locked = p[4] & 1 != 0;
            ok()
        }
        CONFIGURATION => configuration(sectors, p),
        EVENT_STATUS => event_status(c, s, p),
        0xBD => cut(vec![0, if s.open { 0x10 } else { 0 }, 0, 0, 0, 1, 0, 0], be16(p, 8).into()),
        0xBB => ok(), // SET CD SPEED
        _ => match sectors {
            Some(n) => with_medium(n, p),
            None if needs_medium(p[0]) => Check(if s.open { NO_MEDIUM_OPEN } else { NO_MEDIUM_CLOSED }),
            None => Check(BAD_COMMAND),
        },
    }
}

fn needs_medium(command: u8) -> bool {
    matches!(command, 0x00 | 0x25 | 0x28 | 0x2B | 0x43 | 0x51 | 0xA8 | 0xB9 | 0xBE)
}

fn with_medium(sectors: u32, p: &[u8; 12]) -> Outcome {
    match p[0] {
        0x00 => ok(), // TEST UNIT READY
        0x25 => {
            let last = sectors.saturating_sub(1).to_be_bytes();
            Data([last, 2048u32.to_be_bytes()].concat())
        }
        0x28 => read(sectors, be32(p, 2), be16(p, 7).into(), false),
        0xA8 => read(sectors, be32(p, 2), be32(p, 6), false),
        0xBE => read_cd(sectors, be32(p, 2), u32::from_be_bytes([0, p[6], p[7], p[8]]), p),
        0xB9 => read_cd_msf(sectors, p),
        0x2B if be32(p, 2) < sectors => ok(),
        0x2B => Check(OUT_OF_RANGE),
        0x43 => read_toc(sectors, p),
        0x51 => disc_information(p),
        _ => Check(BAD_COMMAND),
    }
}

fn read(sectors: u32, lba: u32, count: u32, raw: bool) -> Outcome {
    match lba.checked_add(count) {
        _ if count == 0 => ok(),
        Some(end) if end <= sectors => Read { lba, count, raw },
        _ => Check(OUT_OF_RANGE),
    }
}

/// READ CD: user data alone, or the whole frame.
fn read_cd(sectors: u32, lba: u32, count: u32, p: &[u8; 12]) -> Outcome {
    let kind = p[1] >> 2 & 7;
    if kind > 2 || p[10] & 7 != 0 {
        return Check(BAD_FIELD); // the track is mode 1 and has no sub-channel data
    }
    match p[9] & 0xF8 {
        0x00 => ok(),
        0x10 => read(sectors, lba, count, false),
        0xF8 => read(sectors, lba, count, true),
        _ => Check(BAD_FIELD),
    }
}

fn read_cd_msf(sectors: u32, p: &[u8; 12]) -> Outcome {
    let lba = |m: u8, s: u8, f: u8| {
        ((u32::from(m) * 60 + u32::from(s)) * 75 + u32::from(f)).checked_sub(PREGAP).filter(|_| s < 60 && f < 75)
    };
    match (lba(p[3], p[4], p[5]), lba(p[6], p[7], p[8])) {
        (Some(from), Some(to)) if from <= to => read_cd(sectors, from, to - from, p),
        _ => Check(BAD_FIELD),
    }
}

/// Minute, second and frame of a sector.
fn msf(lba: u32) -> [u8; 3] {
    let f = lba + PREGAP;
    [(f / 75 / 60) as u8, (f / 75 % 60) as u8, (f % 75) as u8]
}

/// Mode 1 frames of 2352 bytes around the user data; error correction bytes are zero.
pub(super) fn raw_frames(lba: u64, data: &[u8]) -> Vec<u8> {
    let bcd = |v: u8| ((v / 10) << 4) | (v % 10);
    let mut out = Vec::with_capacity(data.len() / 2048 * 2352);
    for (i, user) in data.chunks(2048).enumerate() {
        let at = u32::try_from(lba + i as u64).unwrap_or(0);
        out.push(0);
        out.extend([0xFF; 10]);
        out.push(0);
        out.extend(msf(at).map(bcd));
        out.push(1);
        out.extend_from_slice(user);
        out.extend([0; 288]);
    }
    out
}

fn padded(text: &str, n: usize) -> Vec<u8> {
    let mut b: Vec<u8> = text.bytes().filter(u8::is_ascii_graphic).take(n).collect();
    b.resize(n, b' ');
    b
}

fn inquiry(c: &CdromConfig, p: &[u8; 12]) -> Outcome {
    if p[1] & 3 != 0 || p[2] != 0 {
        return Check(BAD_FIELD); // no vital product data pages
    }
    let mut d = vec![0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0];
    d.extend(padded("WHPX", 8));
    let product: String = c.model.strip_prefix("WHPX ").unwrap_or(&c.model).replace(' ', "_");
    d.extend(padded(&product, 16));
    d.extend(padded(&c.firmware, 4));
    cut(d, p[4].into())
}

fn request_sense(s: &mut PacketState, p: &[u8; 12]) -> Outcome {
    let sense = match s.attention.take() {
        Some(a) if s.sense == Sense::default() => a,
        _ => std::mem::take(&mut s.sense),
    };
    let mut d = vec![0; 18];
    (d[0], d[2], d[7], d[12], d[13]) = (0x70, sense.key, 10, sense.code, sense.qualifier);
    d.truncate(p[4].into());
    if d.is_empty() { ok() } else { Outcome::Sense(d) }
}

fn mode_sense(s: &PacketState, sectors: Option<u32>, page: u8, allocation: usize, long: bool) -> Outcome {
    if page >> 6 == 3 {
        return Check(sense(5, 0x39, 0)); // saved values
    }
    let changeable = page >> 6 == 1;
    let mut pages = vec![];
    let mut add = |body: &[u8]| {
        pages.extend_from_slice(&body[..2]);
        pages.extend(body[2..].iter().map(|b| if changeable { 0 } else { *b }));
    };
    let wanted = page & 0x3F;
    let (recovery, timeout) = ([0x01, 6, 0, 5, 0, 0, 0, 0], [0x1D, 8, 0, 0, 0, 0, 0, 6, 0, 6]);
    let lock = u8::from(s.locked) << 1;
    let capabilities =
        [0x2A, 18, 0x3B, 0x00, 0x70, 0x60, 0x29 | lock, 0x00, 0x10, 0x8A, 0, 2, 0x02, 0x00, 0x10, 0x8A, 0, 0, 0, 0];
    match wanted {
        0x01 => add(&recovery),
        0x1D => add(&timeout),
        0x2A => add(&capabilities),
        0x3F => {
            add(&recovery);
            add(&timeout);
            add(&capabilities);
        }
        _ => return Check(BAD_FIELD),
    }
    let medium = match sectors {
        Some(_) => 0x01,
        None if s.open => 0x71,
        None => 0x70,
    };
    let mut d = if long {
        let len = ((pages.len() + 6) as u16).to_be_bytes();
        vec![len[0], len[1], medium, 0, 0, 0, 0, 0]
    } else {
        vec![(pages.len() + 3) as u8, medium, 0, 0]
    };
    d.extend(pages);
    cut(d, allocation)
}

fn start_stop(c: &CdromConfig, s: &mut PacketState, p: &[u8; 12]) -> Outcome {
    let (load_eject, start) = (p[4] & 2 != 0, p[4] & 1 != 0);
    match (load_eject, start) {
        (true, false) if s.locked && !s.open => Check(REMOVAL_PREVENTED),
        (true, false) => {
            s.move_tray(true, c.queue.is_some());
            ok()
        }
        (true, true) => {
            s.move_tray(false, c.queue.is_some());
            ok()
        }
        _ => ok(), // spins up or down at once
    }
}

fn configuration(sectors: Option<u32>, p: &[u8; 12]) -> Outcome {
    let current = match sectors {
        None => 0,
        Some(n) if n > CD_SECTORS => PROFILE_DVD,
        Some(_) => PROFILE_CD,
    };
    let profile = |number: u16| {
        let b = number.to_be_bytes();
        [b[0], b[1], u8::from(current == number), 0]
    };
    let list = [[0, 0, 3, 8], profile(PROFILE_DVD), profile(PROFILE_CD)].concat();
    let features: [(u16, bool, Vec<u8>); 6] = [
        (0x0000, true, list),
        (0x0001, true, vec![0, 1, 0x0B, 8, 0, 0, 0, 2, 1, 0, 0, 0]), // core: ATAPI, device busy events
        (0x0003, true, vec![0, 3, 0x03, 4, 0x29, 0, 0, 0]),          // removable medium: tray, eject, lock
        (0x0010, current != 0, vec![0, 0x10, 0, 8, 0, 0, 8, 0, 0, 1, 0, 0]), // random readable
        (0x001E, current == PROFILE_CD, vec![0, 0x1E, 0, 4, 0, 0, 0, 0]),
        (0x001F, current == PROFILE_DVD, vec![0, 0x1F, 0, 0]),
    ];
    let (kind, from) = (p[1] & 3, be16(p, 2));
    if kind == 3 {
        return Check(BAD_FIELD);
    }
    let mut body = vec![];
    for (number, is_current, mut bytes) in features {
        let wanted = match kind {
            0 => number >= from,
            1 => number >= from && is_current,
            _ => number == from,
        };
        if wanted {
            bytes[2] |= u8::from(is_current);
            body.extend(bytes);
        }
    }
    let current = current.to_be_bytes();
    let mut d = ((body.len() + 4) as u32).to_be_bytes().to_vec();
    d.extend([0, 0, current[0], current[1]]);
    d.extend(body);
    cut(d, be16(p, 7).into())
}

fn event_status(c: &CdromConfig, s: &mut PacketState, p: &[u8; 12]) -> Outcome {
    const MEDIA: u8 = 4;
    if p[1] & 1 == 0 {
        return Check(BAD_FIELD); // asynchronous operation
    }
    let supported = 1 << MEDIA;
    if p[4] & supported == 0 {
        return cut(vec![0, 2, 0x80, supported], be16(p, 7).into());
    }
    let event = std::mem::take(&mut s.event);
    let presence = u8::from(s.open) | u8::from(c.queue.is_some() && !s.open) << 1;
    cut(vec![0, 6, MEDIA, supported, event, presence, 0, 0], be16(p, 7).into())
}

fn toc_address(lba: u32, as_msf: bool) -> [u8; 4] {
    if as_msf {
        let [m, s, f] = msf(lba);
        [0, m, s, f]
    } else {
        lba.to_be_bytes()
    }
}

fn read_toc(sectors: u32, p: &[u8; 12]) -> Outcome {
    let (as_msf, start) = (p[1] & 2 != 0, p[6]);
    let format = match p[2] & 0xF {
        0 => p[9] >> 6, // as SFF-8020 drives had it
        f => f,
    };
    let track = |number: u8, lba: u32| {
        let a = toc_address(lba, as_msf);
        [0, 0x14, number, 0, a[0], a[1], a[2], a[3]]
    };
    let mut body = vec![1, 1];
    match format {
        0 => {
            if start > 1 && start != 0xAA {
                return Check(BAD_FIELD);
            }
            if start <= 1 {
                body.extend(track(1, 0));
            }
            body.extend(track(0xAA, sectors));
        }
        1 => body.extend(track(1, 0)), // the one session
        2 => {
            let point = |number: u8, a: [u8; 3]| [1, 0x14, 0, number, 0, 0, 0, 0, a[0], a[1], a[2]];
            body.extend(point(0xA0, [1, 0, 0]));
            body.extend(point(0xA1, [1, 0, 0]));
            body.extend(point(0xA2, msf(sectors)));
            body.extend(point(1, msf(0)));
        }
        _ => return Check(BAD_FIELD),
    }
    let mut d = (body.len() as u16).to_be_bytes().to_vec();
    d.extend(body);
    cut(d, be16(p, 7).into())
}

fn disc_information(p: &[u8; 12]) -> Outcome {
    if p[1] & 7 != 0 {
        return Check(BAD_FIELD);
    }
    let mut d = vec![0; 34];
    (d[1], d[2]) = (32, 0x0E); // complete disc, complete last session
    (d[3], d[4], d[5], d[6]) = (1, 1, 1, 1);
    d[7] = 0x20; // unrestricted use
    d[16..24].fill(0xFF); // no further session
    cut(d, be16(p, 7).into())
}
