//! The window's events. Where the guest has a tablet, the pointer is where the desktop's is; else a click takes it, and its motion is the
//! guest's until Ctrl-Alt-G, or until the window is no longer in front.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use display::{ScreenService, Viewer};
use input::{InputBus, InputEvent, MouseButton};
use winit::application::ApplicationHandler;
use winit::dpi::{PhysicalPosition, PhysicalSize};
use winit::event::{DeviceEvent, DeviceId, ElementState, MouseScrollDelta, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop};
use winit::window::{CursorGrabMode, Fullscreen, Window, WindowId};

use crate::keyboard::{Keyboard, Shortcut, key};
use crate::motion::Motion;
use crate::place::Place;
use crate::{Wake, WindowOptions};

/// How often the title is looked at.
const TITLE: Duration = Duration::from_millis(500);
/// Wheels of fine resolution: so many pixels are a notch.
const NOTCH: f64 = 40.0;

/// What is there while the window is open.
struct Open {
    window: Arc<Window>,
    /// Before the context, which it needs.
    pixels: softbuffer::Surface<Arc<Window>, Arc<Window>>,
    place: Place,
    picture: (u32, u32),
}

/// See the module's documentation.
pub(crate) struct App {
    bus: Arc<InputBus>,
    screen: Arc<ScreenService>,
    viewer: Viewer,
    name: String,
    state: Box<dyn Fn() -> String + Send>,
    quit: Box<dyn Fn() + Send>,
    tell: Option<SyncSender<Result<(), String>>>,
    open: Option<Open>,
    keyboard: Keyboard,
    grabbed: bool,
    /// The desktop is X11: see `motion`.
    x11: bool,
    positions: Motion,
    /// Parts of a pixel, and of a notch, that were not sent yet.
    motion: (f64, f64),
    wheel: (f64, f64),
    buttons: Vec<MouseButton>,
    title: String,
}

impl App {
    pub(crate) fn new(options: WindowOptions, events: &EventLoop<Wake>, tell: SyncSender<Result<(), String>>) -> Self {
        let WindowOptions { typed: _, name, screen, bus, state, quit } = options;
        let proxy = std::sync::Mutex::new(events.create_proxy());
        let viewer = screen.subscribe(move || {
            let _ = crate::lock(&proxy).send_event(Wake::Screen); // the loop has ended
        });
        Self {
            keyboard: Keyboard::new(bus.clone()),
            bus,
            screen,
            viewer,
            name,
            state,
            quit,
            tell: Some(tell),
            open: None,
            grabbed: false,
            x11: false,
            positions: Motion::default(),
            motion: (0.0, 0.0),
            wheel: (0.0, 0.0),
            buttons: vec![],
            title: String::new(),
        }
    }

    fn build(&mut self, events: &ActiveEventLoop) -> Result<Open, String> {
        self.viewer.take();
        let surface = self.viewer.surface();
        let picture = (surface.width.max(1), surface.height.max(1));
        let attributes = Window::default_attributes()
            .with_title(self.name.clone())
            .with_inner_size(PhysicalSize::new(picture.0, picture.1));
        let window = Arc::new(events.create_window(attributes).map_err(|e| e.to_string())?);
        let context = softbuffer::Context::new(window.clone()).map_err(|e| e.to_string())?;
        let pixels = softbuffer::Surface::new(&context, window.clone()).map_err(|e| e.to_string())?;
        Ok(Open { window, pixels, place: Place::default(), picture })
    }

    /// The pointer is the guest's alone, or the desktop's again.
    fn grab(&mut self, on: bool) {
        let Some(open) = &self.open else { return };
        let mode = |mode| open.window.set_cursor_grab(mode);
        if on {
            // Some desktops have only one of the two.
            self.grabbed = mode(CursorGrabMode::Locked).or_else(|_| mode(CursorGrabMode::Confined)).is_ok();
        } else {
            self.grabbed = mode(CursorGrabMode::None).is_err();
        }
        self.motion = (0.0, 0.0);
        self.positions.stop();
        self.show_cursor();
    }

    /// The desktop's pointer is hidden where the guest draws its own.
    fn show_cursor(&self) {
        if let Some(open) = &self.open {
            open.window.set_cursor_visible(!self.grabbed && !self.bus.is_absolute());
        }
    }

    fn retitle(&mut self) {
        let mut title = format!("{} [{}]", self.name, (self.state)());
        if self.grabbed {
            title += " - Ctrl-Alt-G releases the pointer";
        }
        if title != self.title
            && let Some(open) = &self.open
        {
            open.window.set_title(&title);
            self.title = title;
        }
    }

    fn shortcut(&mut self, shortcut: Shortcut) {
        match shortcut {
            Shortcut::Grab => self.grab(!self.grabbed),
            Shortcut::FullScreen => {
                if let Some(Open { window, .. }) = &self.open {
                    let full = window.fullscreen().is_none().then_some(Fullscreen::Borderless(None));
                    window.set_fullscreen(full);
                }
            }
        }
        self.retitle();
    }

    /// The desktop's pointer is at a place of the window.
    fn moved(&mut self, x: f64, y: f64) {
        let Some(open) = &self.open else { return };
        if self.bus.is_absolute() {
            let (x, y) = open.place.absolute(x, y);
            self.bus.send(&InputEvent::AbsMove { x, y });
            self.bus.send(&InputEvent::Sync);
        } else if self.grabbed && self.x11 {
            let size = open.window.inner_size();
            let middle = (f64::from(size.width / 2), f64::from(size.height / 2));
            let (delta, send) = self.positions.at((x, y), middle);
            if let Some((x, y)) = send
                && let Err(e) = open.window.set_cursor_position(PhysicalPosition::new(x, y))
            {
                tracing::warn!("-display window: cannot hold the pointer: {e}");
            }
            self.relative(delta);
        } else {
            self.positions.seen((x, y));
        }
    }

    fn relative(&mut self, delta: (f64, f64)) {
        let (dx, dy) = whole(&mut self.motion, delta);
        if (dx, dy) != (0, 0) && !self.bus.is_absolute() {
            self.bus.send(&InputEvent::RelMove { dx, dy });
            self.bus.send(&InputEvent::Sync);
        }
    }

    fn button(&mut self, button: winit::event::MouseButton, down: bool) {
        let button = match button {
            winit::event::MouseButton::Left => MouseButton::Left,
            winit::event::MouseButton::Right => MouseButton::Right,
            winit::event::MouseButton::Middle => MouseButton::Middle,
            winit::event::MouseButton::Back => MouseButton::Side,
            winit::event::MouseButton::Forward => MouseButton::Extra,
            winit::event::MouseButton::Other(_) => return,
        };
        if !self.bus.is_absolute() && !self.grabbed {
            // The click that takes the pointer is not the guest's.
            if down {
                self.grab(true);
            }
            return;
        }
        let was = self.buttons.contains(&button);
        if was == down {
            return;
        }
        self.buttons.retain(|b| *b != button);
        if down {
            self.buttons.push(button);
        }
        self.bus.send(&InputEvent::Button { button, down });
        self.bus.send(&InputEvent::Sync);
    }

    fn turned(&mut self, delta: MouseScrollDelta) {
        let (x, y) = match delta {
            MouseScrollDelta::LineDelta(x, y) => (f64::from(x), f64::from(y)),
            MouseScrollDelta::PixelDelta(p) => (p.x / NOTCH, p.y / NOTCH),
        };
        let (horizontal, vertical) = whole(&mut self.wheel, (-x, y));
        if (horizontal, vertical) != (0, 0) {
            self.bus.send(&InputEvent::Wheel { vertical, horizontal });
            self.bus.send(&InputEvent::Sync);
        }
    }

    fn left(&mut self) {
        self.keyboard.release_all();
        for button in std::mem::take(&mut self.buttons) {
            self.bus.send(&InputEvent::Button { button, down: false });
            self.bus.send(&InputEvent::Sync);
        }
        if self.grabbed {
            self.grab(false);
        }
    }

    /// Takes what has changed, and asks for it to be drawn.
    fn look(&mut self) {
        self.viewer.take();
        let surface = self.viewer.surface();
        let size = (surface.width, surface.height);
        let Some(open) = &mut self.open else { return };
        if size != open.picture && size.0 != 0 && size.1 != 0 {
            open.picture = size;
            if !open.window.is_maximized() && open.window.fullscreen().is_none() {
                // Granted at once or by an event later.
                let _ = open.window.request_inner_size(PhysicalSize::new(size.0, size.1));
            }
        }
        open.window.request_redraw();
    }

    fn draw(&mut self) -> Result<(), softbuffer::SoftBufferError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let size = open.window.inner_size();
        let (Some(width), Some(height)) = (NonZeroU32::new(size.width), NonZeroU32::new(size.height)) else {
            return Ok(());
        };
        let surface = self.viewer.surface();
        open.place = Place::new((surface.width, surface.height), (size.width, size.height));
        open.pixels.resize(width, height)?;
        let mut pixels = open.pixels.buffer_mut()?;
        open.place.draw(surface, &mut pixels, size.width);
        open.window.pre_present_notify();
        pixels.present()
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn is_x11(events: &ActiveEventLoop) -> bool {
    winit::platform::x11::ActiveEventLoopExtX11::is_x11(events)
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn is_x11(_: &ActiveEventLoop) -> bool {
    false
}

/// Adds to a sum and takes its whole part.
fn whole(sum: &mut (f64, f64), add: (f64, f64)) -> (i32, i32) {
    *sum = (sum.0 + add.0, sum.1 + add.1);
    let whole = (sum.0.trunc(), sum.1.trunc());
    *sum = (sum.0 - whole.0, sum.1 - whole.1);
    (whole.0 as i32, whole.1 as i32)
}

impl ApplicationHandler<Wake> for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.open.is_some() {
            return;
        }
        self.x11 = is_x11(events);
        let result = self.build(events).map(|open| self.open = Some(open));
        if result.is_err() {
            events.exit();
        }
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(result); // nobody waits any more
        }
        self.retitle();
        self.show_cursor();
    }

    fn user_event(&mut self, _: &ActiveEventLoop, wake: Wake) {
        match wake {
            Wake::Screen => self.look(),
        }
    }

    fn window_event(&mut self, _: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => (self.quit)(),
            WindowEvent::RedrawRequested => {
                if let Err(e) = self.draw() {
                    tracing::warn!("-display window: cannot draw: {e}");
                }
            }
            WindowEvent::Resized(_) => {
                if let Some(open) = &self.open {
                    open.window.request_redraw();
                }
            }
            WindowEvent::Focused(false) => self.left(),
            WindowEvent::KeyboardInput { event, is_synthetic: false, .. } => {
                if let Some(key) = key(event.physical_key) {
                    self.screen.expect_change();
                    if let Some(shortcut) = self.keyboard.press(key, event.state == ElementState::Pressed) {
                        self.shortcut(shortcut);
                    }
                }
            }
            WindowEvent::CursorMoved { position, .. } => self.moved(position.x, position.y),
            WindowEvent::CursorEntered { .. } => self.show_cursor(),
            WindowEvent::MouseInput { state, button, .. } => self.button(button, state == ElementState::Pressed),
            WindowEvent::MouseWheel { delta, .. } => self.turned(delta),
            _ => {}
        }
    }

    fn device_event(&mut self, _: &ActiveEventLoop, _: DeviceId, event: DeviceEvent) {
        if let DeviceEvent::MouseMotion { delta } = event
            && self.grabbed
            && !self.x11
        {
            self.relative(delta);
        }
    }

    fn about_to_wait(&mut self, events: &ActiveEventLoop) {
        self.retitle();
        events.set_control_flow(ControlFlow::WaitUntil(Instant::now() + TITLE));
    }
}
