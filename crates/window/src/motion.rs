//! Motion of a taken pointer on X11, from its positions: raw motion is delivered there twice while the pointer is taken. The pointer is
//! sent back to the middle of the window before it meets an edge.

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Motion {
    last: Option<(f64, f64)>,
    /// Where the pointer was sent; its arrival there is no motion.
    sent: Option<(f64, f64)>,
}

impl Motion {
    /// The pointer is at `at` of a window whose middle is `middle`. How far it went, and where to send it, if anywhere.
    pub(crate) fn at(&mut self, at: (f64, f64), middle: (f64, f64)) -> ((f64, f64), Option<(f64, f64)>) {
        let far =
            |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() > middle.0 / 2.0 || (a.1 - b.1).abs() > middle.1 / 2.0;
        let mut last = self.last.unwrap_or(at);
        if let Some(sent) = self.sent
            && (at == sent || far(at, last) && !far(at, sent))
        {
            (last, self.sent) = (sent, None);
        }
        self.last = Some(at);
        let send = (self.sent.is_none() && far(at, middle)).then_some(middle);
        self.sent = self.sent.or(send);
        ((at.0 - last.0, at.1 - last.1), send)
    }

    /// The pointer is let go.
    pub(crate) fn stop(&mut self) {
        self.sent = None;
    }

    /// The pointer is there, and not taken.
    pub(crate) fn seen(&mut self, at: (f64, f64)) {
        *self = Self { last: Some(at), sent: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_sent_is_no_motion() {
        const MIDDLE: (f64, f64) = (100.0, 50.0);
        let mut m = Motion::default();
        m.seen((100.0, 60.0));
        assert_eq!(m.at((103.0, 58.0), MIDDLE), ((3.0, -2.0), None));
        assert_eq!(m.at((160.0, 58.0), MIDDLE), ((57.0, 0.0), Some(MIDDLE)));
        // Already on its way when the pointer was sent.
        assert_eq!(m.at((165.0, 58.0), MIDDLE), ((5.0, 0.0), None));
        assert_eq!(m.at(MIDDLE, MIDDLE), ((0.0, 0.0), None));
        assert_eq!(m.at((99.0, 50.0), MIDDLE), ((-1.0, 0.0), None));
        // The arrival and the next motion in one.
        m.at((30.0, 50.0), MIDDLE);
        assert_eq!(m.at((98.0, 51.0), MIDDLE), ((-2.0, 1.0), None));
    }
}
