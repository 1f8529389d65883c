//! The VNC server: RFB 3.3, 3.7 and 3.8 (RFC 6143) with the community's and QEMU's extensions, over TCP and websockets.
//!
//! Security None and VNC Authentication; Raw, CopyRect, Tight (with JPEG when the user allows loss) and ZRLE; DesktopSize,
//! ExtendedDesktopSize, QEMU's extended key event and pointer motion change. Left out: Hextile (every client has better
//! ones), cursor shapes (the video cards have no hardware cursor), TLS, continuous updates, clipboards, resizing by the
//! client.

mod audit;
mod auth;
mod client;
mod handshake;
mod keyboard;
mod message;
mod pixel;
mod scroll;
mod server;
mod tight;
mod transport;
mod update;
mod zrle;

pub(crate) use audit::audit;
pub use server::{Share, VncError, VncOptions, VncServer};

#[cfg(test)]
mod tests;

/// Pictures that make encoders use all they have.
#[cfg(test)]
mod test_pictures {
    use display::Surface;

    pub(super) fn pictures() -> Vec<Surface> {
        let mut random = crate::test_random(0x9E37_79B9_7F4A_7C15);
        let mut make = |colour: &mut dyn FnMut(u32, u32, u64) -> u32| {
            let mut s = Surface::new();
            s.resize(150, 100);
            for y in 0..100 {
                for (x, p) in (0..).zip(s.row_mut(y)) {
                    *p = colour(x, y, random()) & 0xFF_FFFF;
                }
            }
            s
        };
        vec![
            make(&mut |_, _, _| 0x12_3456),
            make(&mut |_, _, r| if r & 1 == 0 { 0 } else { 0xFF_FFFF }),
            make(&mut |_, _, r| [0, 0xFF, 0xFF00][r as usize % 3]),
            make(&mut |_, _, r| (r as u32 % 13) * 0x01_0203),
            make(&mut |x, y, r| (x / 9 + y / 31 + u32::from(r % 50 == 0)) * 0x02_0301),
            make(&mut |x, y, _| (x / 70 + y * 4) * 0x11_0703),
            make(&mut |_, _, r| r as u32),
            make(&mut |x, y, _| x << 16 | y),
        ]
    }
}
