//! What a display device publishes and front ends pull: surfaces, dirty rectangles, screenshots.
//!
//! Front ends subscribe to a screen's [`ScreenService`] and take what changed at their own rate, each with a surface of
//! its own; the service looks at the source once for all of them. Left out: cursors as separate planes, several heads, and scaling, which is the front end's work.

mod cp437;
mod remote;
mod screendump;
mod service;
mod surface;

pub use cp437::cp437;
pub use remote::{RemoteClient, RemoteDisplay, RemoteInfo};
pub use screendump::{DumpError, DumpFormat, screendump, write_png, write_ppm};
pub use service::{ScreenService, TILE_HEIGHT, TILE_WIDTH, Update, Viewer};
pub use surface::{Rect, Surface};

/// A screen to look at.
pub trait DisplaySource: Send + Sync {
    /// Brings `surface` up to date, to another size where need be, and returns the rectangles that changed in it:
    /// none on an idle screen. A surface is for one source from its first use on; any number of surfaces may follow
    /// the same source.
    fn render(&self, surface: &mut Surface) -> Vec<Rect>;

    /// The characters on the screen, a line each without the spaces at its end; `None` in graphics modes.
    fn text(&self) -> Option<Vec<String>>;
}
