//! The Ctrl-A escapes of a multiplexed back end, as QEMU's documentation ("Keys in the character backend
//! multiplexer") lists them.

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

const HELP: &str = "\r\n\
    C-a h    print this help\r\n\
    C-a x    exit emulator\r\n\
    C-a b    send break (magic sysrq)\r\n\
    C-a c    switch between console and monitor\r\n\
    C-a C-a  send C-a\r\n";

/// What to do about an input byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MuxAction {
    Nothing,
    Pass(u8),
    Break,
    Print(&'static str),
    Next,
    Quit,
}

#[derive(Default)]
pub(crate) struct MuxFilter {
    escaped: bool,
}

impl MuxFilter {
    pub(crate) fn filter(&mut self, byte: u8) -> MuxAction {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return if self.escaped { MuxAction::Nothing } else { MuxAction::Pass(byte) };
        }
        match byte {
            b'x' => MuxAction::Quit,
            b'c' => MuxAction::Next,
            b'b' => MuxAction::Break,
            b'h' | b'?' => MuxAction::Print(HELP),
            ESCAPE => MuxAction::Pass(ESCAPE),
            _ => MuxAction::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let mut f = MuxFilter::default();
        let mut all =
            |s: &[u8]| s.iter().map(|b| f.filter(*b)).filter(|a| *a != MuxAction::Nothing).collect::<Vec<_>>();
        assert_eq!(all(b"a\x01"), [MuxAction::Pass(b'a')]);
        assert_eq!(all(b"c\x01x"), [MuxAction::Next, MuxAction::Quit]);
        assert_eq!(all(b"\x01\x01\x01b\x01zx"), [MuxAction::Pass(1), MuxAction::Break, MuxAction::Pass(b'x')]);
    }
}
