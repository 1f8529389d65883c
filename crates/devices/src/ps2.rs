//! PS/2 keyboard and mouse, as the devices at the end of the keyboard controller's two cables.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)" and "Mouse"; Microsoft
//! IntelliMouse and IntelliMouse Explorer protocols (sample rate sequences 200, 100, 80 and 200, 200, 80).
//!
//! Left out on purpose: the serial line's timing, and the mouse's sample rate as a limit (a report is made when the
//! last one has been taken, which limits it as well; the rate is kept and reported).

use std::collections::{BTreeMap, VecDeque};

use input::{InputEvent, Key, MouseButton};
use serde::{Deserialize, Serialize};

const ACK: u8 = 0xFA;
const RESEND: u8 = 0xFE;
const BAT_OK: u8 = 0xAA;

/// Scan codes that wait at most; a key press that does not fit is lost as a whole, with an overrun code.
const KEYBOARD_QUEUE: usize = 64;
/// Motion that is kept for one report at most.
const MOTION_LIMIT: i32 = 1 << 16;

/// The two queues of a device: answers to commands go ahead of what happened meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Queue {
    replies: VecDeque<u8>,
    events: VecDeque<u8>,
    last: u8,
}

impl Queue {
    fn reply(&mut self, bytes: &[u8]) {
        // A host that never reads cannot make it grow.
        if self.replies.len() + bytes.len() <= 64 {
            self.replies.extend(bytes);
        }
    }

    fn pop(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.events.pop_front())?;
        self.last = byte;
        Some(byte)
    }

    fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.events.is_empty()
    }

    fn fits(&self) -> bool {
        self.replies.len() <= 64 && self.events.len() <= 4 * KEYBOARD_QUEUE
    }
}

/// How a key behaves in scan set 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KeyType {
    Typematic,
    MakeBreak,
    MakeOnly,
    TypematicMakeBreak,
}

/// The keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keyboard {
    queue: Queue,
    /// A command that waits for its parameter.
    command: Option<u8>,
    scanning: bool,
    set: u8,
    leds: u8,
    typematic: u8,
    /// Set 3: the type of all keys, and of single ones.
    all_types: Option<KeyType>,
    types: BTreeMap<u8, KeyType>,
    /// Keys that are down, as set 1 codes.
    down: Vec<u16>,
    /// The key that repeats (its index in [`Key::ALL`]) and when next, in virtual ns.
    repeat: Option<(u16, u64)>,
}

fn index_of(key: Key) -> u16 {
    Key::ALL.iter().position(|k| *k == key).map_or(u16::MAX, |i| i as u16)
}

impl Keyboard {
    pub(crate) fn at_reset() -> Self {
        Self {
            queue: Queue::default(),
            command: None,
            scanning: true,
            set: 2,
            leds: 0,
            typematic: 0x2B,
            all_types: None,
            types: BTreeMap::new(),
            down: Vec::new(),
            repeat: None,
        }
    }

    /// Whether a restored state is possible.
    pub(crate) fn is_sane(&self) -> bool {
        (1..=3).contains(&self.set) && self.queue.fits() && self.down.len() <= Key::ALL.len()
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        self.queue.pop()
    }

    pub(crate) fn leds(&self) -> u8 {
        self.leds
    }

    /// When the next repetition is due.
    pub(crate) fn repeat_at(&self) -> Option<u64> {
        self.repeat.map(|r| r.1)
    }

    fn default_settings(&mut self) {
        self.typematic = 0x2B;
        self.set = 2;
        self.all_types = None;
        self.types.clear();
        self.queue.events.clear();
        self.repeat = None;
    }

    fn key_type(&self, code: u8) -> KeyType {
        let default = match code {
            // Control, Shift and Alt on the left, Caps Lock, Shift on the right; the right-hand Control and Alt.
            0x11 | 0x12 | 0x19 | 0x14 | 0x59 => KeyType::MakeBreak,
            0x58 | 0x39 => KeyType::MakeOnly,
            _ => KeyType::Typematic,
        };
        self.types.get(&code).copied().or(self.all_types).unwrap_or(default)
    }

    /// First delay and period of typematic action in ns.
    fn typematic_ns(&self) -> (u64, u64) {
        let delay = (u64::from(self.typematic >> 5 & 3) + 1) * 250_000_000;
        let (a, b) = (u64::from(self.typematic & 7), u32::from(self.typematic >> 3 & 3));
        (delay, ((8 + a) << b) * 4_170_000)
    }

    fn emit(&mut self, code: &[u8]) {
        if self.queue.events.len() + code.len() <= KEYBOARD_QUEUE {
            self.queue.events.extend(code);
        } else if self.queue.events.len() <= KEYBOARD_QUEUE {
            self.queue.events.push_back(if self.set == 1 { 0xFF } else { 0x00 });
        }
    }

    /// A key went down or up. A repeated `down` is the host's auto-repeat and ignored: the keyboard has its own.
    pub(crate) fn key(&mut self, key: Key, down: bool, now: u64) {
        let index = index_of(key);
        let was = self.down.contains(&index);
        if was == down {
            return;
        }
        self.down.retain(|k| *k != index);
        if down {
            self.down.push(index);
        }
        if self.repeat.is_some_and(|r| r.0 == index) {
            self.repeat = None;
        }
        if !self.scanning {
            return;
        }
        let kind = if self.set == 3 { key.set3().map(|c| self.key_type(c)) } else { Some(KeyType::TypematicMakeBreak) };
        let Some(kind) = kind else { return };
        if down {
            self.emit(&key.make(self.set));
            let repeats = matches!(kind, KeyType::Typematic | KeyType::TypematicMakeBreak) && key != Key::Pause;
            self.repeat = repeats.then(|| (index, now.saturating_add(self.typematic_ns().0)));
        } else if matches!(kind, KeyType::MakeBreak | KeyType::TypematicMakeBreak) {
            self.emit(&key.release(self.set));
        }
    }

    /// Repeats the held key if it is time. A host that has not taken the last code gets no more of them.
    pub(crate) fn tick(&mut self, now: u64) {
        let Some((index, at)) = self.repeat.filter(|r| r.1 <= now) else { return };
        let Some(key) = Key::ALL.get(usize::from(index)) else {
            self.repeat = None;
            return;
        };
        if self.scanning && self.queue.is_empty() {
            self.emit(&key.make(self.set));
        }
        let next = at.saturating_add(self.typematic_ns().1).max(now.saturating_add(1_000_000));
        self.repeat = Some((index, next));
    }

    fn set_type(&mut self, code: u8, command: u8) {
        let kind = match command {
            0xFB => KeyType::Typematic,
            0xFC => KeyType::MakeBreak,
            _ => KeyType::MakeOnly,
        };
        self.types.insert(code, kind);
    }

    /// The parameter of the command before. `false` when it is none, but the next command.
    fn parameter(&mut self, command: u8, v: u8) -> bool {
        match command {
            0xED if v <= 0x07 => self.leds = v,
            0xF3 if v <= 0x7F => self.typematic = v,
            0xF0 if v == 0 => {
                self.queue.reply(&[ACK, self.set]);
                return true;
            }
            0xF0 if v <= 3 => {
                self.queue.events.clear();
                self.set = v;
            }
            0xFB..=0xFD if v < 0xED => {
                self.set_type(v, command);
                // More keys may follow; a command ends the list.
                self.command = Some(command);
            }
            _ => return false,
        }
        self.queue.reply(&[ACK]);
        true
    }

    /// A byte from the host.
    pub(crate) fn write(&mut self, v: u8) {
        if let Some(command) = self.command.take()
            && self.parameter(command, v)
        {
            return;
        }
        match v {
            0xED | 0xF0 | 0xF3 | 0xFB..=0xFD => {
                self.command = Some(v);
                self.queue.reply(&[ACK]);
            }
            0xEE => self.queue.reply(&[0xEE]),
            0xF2 => self.queue.reply(&[ACK, 0xAB, 0x83]),
            0xF4 => {
                self.queue.events.clear();
                self.scanning = true;
                self.queue.reply(&[ACK]);
            }
            0xF5 | 0xF6 => {
                self.default_settings();
                self.scanning = v == 0xF6;
                self.queue.reply(&[ACK]);
            }
            0xF7..=0xFA => {
                self.all_types = Some(match v {
                    0xF7 => KeyType::Typematic,
                    0xF8 => KeyType::MakeBreak,
                    0xF9 => KeyType::MakeOnly,
                    _ => KeyType::TypematicMakeBreak,
                });
                self.types.clear();
                self.queue.reply(&[ACK]);
            }
            0xFE => {
                let last = self.queue.last;
                self.queue.reply(&[last]);
            }
            0xFF => {
                let down = std::mem::take(&mut self.down);
                *self = Self { down, ..Self::at_reset() };
                self.queue.reply(&[ACK, BAT_OK]);
            }
            _ => self.queue.reply(&[RESEND]),
        }
    }
}

/// The mouse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mouse {
    queue: Queue,
    command: Option<u8>,
    reporting: bool,
    remote: bool,
    wrap: bool,
    double: bool,
    resolution: u8,
    rate: u8,
    /// The last sample rates, for the sequences that switch protocols.
    rates: [u8; 3],
    /// 0 standard, 3 IntelliMouse, 4 Explorer.
    id: u8,
    buttons: u8,
    dx: i32,
    dy: i32,
    dz: i32,
    /// Something is to be reported.
    changed: bool,
}

impl Mouse {
    pub(crate) fn at_reset() -> Self {
        Self {
            queue: Queue::default(),
            command: None,
            reporting: false,
            remote: false,
            wrap: false,
            double: false,
            resolution: 2,
            rate: 100,
            rates: [0; 3],
            id: 0,
            buttons: 0,
            dx: 0,
            dy: 0,
            dz: 0,
            changed: false,
        }
    }

    /// Whether a restored state is possible.
    pub(crate) fn is_sane(&self) -> bool {
        let range = -MOTION_LIMIT..=MOTION_LIMIT;
        self.queue.fits() && [self.dx, self.dy, self.dz].iter().all(|d| range.contains(d))
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        let byte = self.queue.pop();
        if self.queue.is_empty() {
            self.report();
        }
        byte
    }

    /// Takes a pointer event.
    pub(crate) fn input(&mut self, event: &InputEvent) {
        let add = |a: &mut i32, b: i32| *a = a.saturating_add(b).clamp(-MOTION_LIMIT, MOTION_LIMIT);
        match *event {
            InputEvent::RelMove { dx, dy } => {
                add(&mut self.dx, dx);
                // The mouse counts up as positive.
                add(&mut self.dy, dy.saturating_neg());
                self.changed = true;
            }
            InputEvent::Wheel { vertical, .. } => {
                // The wheel counts down as positive.
                add(&mut self.dz, vertical.saturating_neg());
                self.changed = true;
            }
            InputEvent::Button { button, down } => {
                let bit = match button {
                    MouseButton::Left => 0x01,
                    MouseButton::Right => 0x02,
                    MouseButton::Middle => 0x04,
                    MouseButton::Side => 0x08,
                    MouseButton::Extra => 0x10,
                };
                self.buttons = if down { self.buttons | bit } else { self.buttons & !bit };
                self.changed = true;
                // A click must not vanish in one report with its release.
                self.report();
            }
            InputEvent::Sync => self.report(),
            _ => {}
        }
    }

    /// In stream mode, queues a report if there is news and the last one has been taken.
    fn report(&mut self) {
        if self.reporting && !self.remote && !self.wrap && self.changed && self.queue.is_empty() {
            let packet = self.packet(true);
            self.queue.events.extend(packet);
        }
    }

    /// 2:1 scaling, in stream mode only.
    fn scale(&self, d: i32, stream: bool) -> i32 {
        if !self.double || !stream {
            return d;
        }
        let magnitude = match d.abs() {
            n @ (0 | 1) => n,
            2 => 1,
            3 => 3,
            4 => 6,
            5 => 9,
            n => 2 * n,
        };
        magnitude * d.signum()
    }

    fn packet(&mut self, stream: bool) -> Vec<u8> {
        let (dx, dy) = (self.dx.clamp(-255, 255), self.dy.clamp(-255, 255));
        self.dx -= dx;
        self.dy -= dy;
        let (sx, sy) = (self.scale(dx, stream), self.scale(dy, stream));
        let overflow = |d: i32| u8::from(!(-256..=255).contains(&d));
        let (cx, cy) = (sx.clamp(-256, 255), sy.clamp(-256, 255));
        let head = self.buttons & 7
            | 0x08
            | u8::from(cx < 0) << 4
            | u8::from(cy < 0) << 5
            | overflow(sx) << 6
            | overflow(sy) << 7;
        let mut packet = vec![head, cx as u8, cy as u8];
        let dz = self.dz.clamp(-8, 7);
        match self.id {
            3 => {
                self.dz -= dz;
                packet.push(dz as u8);
            }
            4 => {
                self.dz -= dz;
                packet.push(dz as u8 & 0x0F | (self.buttons & 0x18) << 1);
            }
            _ => self.dz = 0,
        }
        self.changed = self.dx != 0 || self.dy != 0 || self.dz != 0;
        packet
    }

    fn clear_motion(&mut self) {
        (self.dx, self.dy, self.dz, self.changed) = (0, 0, 0, false);
        self.queue.events.clear();
    }

    fn default_settings(&mut self) {
        self.reporting = false;
        self.remote = false;
        self.double = false;
        self.resolution = 2;
        self.rate = 100;
        self.clear_motion();
    }

    fn set_rate(&mut self, rate: u8) {
        self.rate = rate;
        self.rates = [self.rates[1], self.rates[2], rate];
        match self.rates {
            [200, 100, 80] => self.id = 3,
            [200, 200, 80] => self.id = 4,
            _ => {}
        }
    }

    /// A byte from the host.
    pub(crate) fn write(&mut self, v: u8) {
        if self.wrap && v != 0xEC && v != 0xFF {
            self.queue.reply(&[v]);
            return;
        }
        match self.command.take() {
            Some(0xE8) if v <= 3 => {
                self.resolution = v;
                return self.queue.reply(&[ACK]);
            }
            Some(0xF3) if matches!(v, 10 | 20 | 40 | 60 | 80 | 100 | 200) => {
                self.set_rate(v);
                return self.queue.reply(&[ACK]);
            }
            Some(_) if v < 0xE6 => return self.queue.reply(&[RESEND]),
            _ => {}
        }
        // What is being reported is cut off by any command.
        if v != 0xFE {
            self.queue.events.clear();
        }
        self.command(v);
    }

    fn command(&mut self, v: u8) {
        match v {
            0xE6 => self.double = false,
            0xE7 => self.double = true,
            0xE8 | 0xF3 => self.command = Some(v),
            0xE9 => {
                let [l, r, m] = [0, 1, 2].map(|b| self.buttons >> b & 1);
                let modes = u8::from(self.remote) << 6 | u8::from(self.reporting) << 5 | u8::from(self.double) << 4;
                let status = [ACK, modes | l << 2 | m << 1 | r, self.resolution, self.rate];
                return self.queue.reply(&status);
            }
            0xEA => {
                self.remote = false;
                self.clear_motion();
            }
            0xEB => {
                self.queue.reply(&[ACK]);
                let packet = self.packet(false);
                return self.queue.reply(&packet);
            }
            0xEC => self.wrap = false,
            0xEE => self.wrap = true,
            0xF0 => {
                self.remote = true;
                self.clear_motion();
            }
            0xF2 => {
                let id = self.id;
                return self.queue.reply(&[ACK, id]);
            }
            0xF4 => {
                self.clear_motion();
                self.reporting = true;
            }
            0xF5 => {
                self.reporting = false;
                self.clear_motion();
            }
            0xF6 => self.default_settings(),
            0xFE => {
                let last = self.queue.last;
                return self.queue.reply(&[last]);
            }
            0xFF => {
                *self = Self { buttons: self.buttons, ..Self::at_reset() };
                return self.queue.reply(&[ACK, BAT_OK, 0x00]);
            }
            _ => return self.queue.reply(&[RESEND]),
        }
        self.queue.reply(&[ACK]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut pop: impl FnMut() -> Option<u8>) -> Vec<u8> {
        std::iter::from_fn(&mut pop).collect()
    }

    fn ask(m: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|b| m.write(*b));
        drain(|| m.pop())
    }

    #[test]
    fn keyboard_commands() {
        let mut k = Keyboard::at_reset();
        let mut ask = |bytes: &[u8]| {
            bytes.iter().for_each(|b| k.write(*b));
            drain(|| k.pop())
        };
        assert_eq!(ask(&[0xFF]), [0xFA, 0xAA]);
        assert_eq!(ask(&[0xF2]), [0xFA, 0xAB, 0x83]);
        assert_eq!(ask(&[0xEE]), [0xEE]);
        assert_eq!(ask(&[0xED, 0x05]), [0xFA, 0xFA]);
        assert_eq!(ask(&[0xF0, 0x00]), [0xFA, 0xFA, 0x02]);
        assert_eq!(ask(&[0xED, 0xF4]), [0xFA, 0xFA], "a command instead of the parameter");
        assert_eq!(ask(&[0x55]), [0xFE]);
        assert_eq!(ask(&[0xFE]), [0xFE]);
        assert_eq!(ask(&[0xFC, 0x1C, 0x1D, 0xF4]), [0xFA; 4]);
        assert_eq!(k.leds(), 5);
    }

    #[test]
    fn typematic_action_follows_its_setting() {
        let mut k = Keyboard::at_reset();
        k.key(Key::A, true, 0);
        k.key(Key::A, true, 10);
        assert_eq!(drain(|| k.pop()), [0x1C]);
        assert_eq!(k.repeat_at(), Some(500_000_000));
        k.tick(500_000_000);
        k.tick(k.repeat_at().unwrap());
        assert_eq!(drain(|| k.pop()), [0x1C], "nothing on top of a code not taken");
        // 10.9 characters a second.
        assert_eq!(k.repeat_at(), Some(500_000_000 + 2 * 91_740_000));
        k.key(Key::A, false, 0);
        assert_eq!((drain(|| k.pop()), k.repeat_at()), (vec![0xF0, 0x1C], None));
    }

    #[test]
    fn set_3_key_types_and_disabled_scanning() {
        let mut k = Keyboard::at_reset();
        for b in [0xF0, 3] {
            k.write(b);
        }
        drain(|| k.pop());
        k.key(Key::A, true, 0);
        k.key(Key::A, false, 0);
        k.key(Key::Ctrl, true, 0);
        k.key(Key::Ctrl, false, 0);
        assert_eq!(drain(|| k.pop()), [0x1C, 0x11, 0xF0, 0x11]);
        k.write(0xFA);
        k.key(Key::A, true, 0);
        k.key(Key::A, false, 0);
        assert_eq!(drain(|| k.pop()), [0xFA, 0x1C, 0xF0, 0x1C]);
        k.write(0xF5);
        k.key(Key::A, true, 0);
        assert_eq!(drain(|| k.pop()), [0xFA]);
    }

    #[test]
    fn an_overrun_loses_whole_keys() {
        let mut k = Keyboard::at_reset();
        for i in 0..200 {
            k.key(Key::Delete, i % 2 == 0, 0);
        }
        let all = drain(|| k.pop());
        assert_eq!(all.len(), KEYBOARD_QUEUE + 1);
        assert_eq!(all.last(), Some(&0));
    }

    #[test]
    fn mouse_reset_id_and_status() {
        let mut m = Mouse::at_reset();
        assert_eq!(ask(&mut m, &[0xFF]), [0xFA, 0xAA, 0x00]);
        assert_eq!(ask(&mut m, &[0xF2]), [0xFA, 0x00]);
        assert_eq!(ask(&mut m, &[0xE8, 3, 0xF3, 40, 0xF4, 0xE7]), [0xFA; 6]);
        assert_eq!(ask(&mut m, &[0xE9]), [0xFA, 0x30, 3, 40]);
        assert_eq!(ask(&mut m, &[0xF3, 77]), [0xFA, 0xFE]);
        for (rates, id) in [([200, 100, 80], 3), ([200, 200, 80], 4)] {
            for r in rates {
                ask(&mut m, &[0xF3, r]);
            }
            assert_eq!(ask(&mut m, &[0xF2]), [0xFA, id]);
        }
    }

    #[test]
    fn motion_becomes_packets() {
        let mut m = Mouse::at_reset();
        m.input(&InputEvent::RelMove { dx: 9, dy: 9 });
        m.input(&InputEvent::Sync);
        assert_eq!(drain(|| m.pop()), [0; 0], "not reporting yet");
        ask(&mut m, &[0xF4]);
        m.input(&InputEvent::RelMove { dx: 5, dy: 3 });
        m.input(&InputEvent::Sync);
        assert_eq!(drain(|| m.pop()), [0x28, 5, 0xFD]);
        m.input(&InputEvent::RelMove { dx: -300, dy: 0 });
        m.input(&InputEvent::Sync);
        assert_eq!(drain(|| m.pop()), [0x18, 0x01, 0, 0x18, 0xD3, 0], "in two pieces");
        m.input(&InputEvent::Button { button: MouseButton::Middle, down: true });
        m.input(&InputEvent::Button { button: MouseButton::Middle, down: false });
        assert_eq!(drain(|| m.pop()), [0x0C, 0, 0, 0x08, 0, 0]);
    }

    #[test]
    fn wheel_and_side_buttons_in_explorer_mode() {
        let mut m = Mouse::at_reset();
        ask(&mut m, &[0xF3, 200, 0xF3, 200, 0xF3, 80, 0xF4]);
        m.input(&InputEvent::Wheel { vertical: 1, horizontal: 0 });
        m.input(&InputEvent::Button { button: MouseButton::Side, down: true });
        assert_eq!(drain(|| m.pop()), [0x08, 0, 0, 0x1F]);
    }

    #[test]
    fn wrap_and_remote_modes() {
        let mut m = Mouse::at_reset();
        assert_eq!(ask(&mut m, &[0xEE, 0x12, 0xF4, 0xEC]), [0xFA, 0x12, 0xF4, 0xFA]);
        ask(&mut m, &[0xF0, 0xF4]);
        m.input(&InputEvent::RelMove { dx: 1, dy: 0 });
        m.input(&InputEvent::Sync);
        assert_eq!(drain(|| m.pop()), [0; 0]);
        assert_eq!(ask(&mut m, &[0xEB]), [0xFA, 0x08, 1, 0]);
    }
}
