//! Screenshots: PPM (P6, netpbm's description) and PNG.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::Surface;

/// The format of a picture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DumpFormat {
    /// Portable pixmap, binary, 8 bits a sample.
    #[default]
    Ppm,
    /// PNG, 8 bits a sample, RGB.
    Png,
}

impl FromStr for DumpFormat {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "ppm" => Ok(Self::Ppm),
            "png" => Ok(Self::Png),
            other => Err(format!("unknown picture format '{other}'; use ppm or png")),
        }
    }
}

impl DumpFormat {
    /// What a file name's ending says; PPM when it says nothing.
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) { Self::Png } else { Self::Ppm }
    }
}

/// A screenshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file could not be made or written.
    #[error("cannot write the screenshot '{path}': {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// There are no pixels to write.
    #[error("cannot write the screenshot '{path}': the screen is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

fn rgb(surface: &Surface) -> Vec<u8> {
    (0..surface.height).flat_map(|y| surface.row(y)).flat_map(|p| [(p >> 16) as u8, (p >> 8) as u8, *p as u8]).collect()
}

/// Writes `surface` as PPM.
///
/// # Errors
/// The writer's.
pub fn write_ppm(surface: &Surface, out: &mut impl Write) -> io::Result<()> {
    write!(out, "P6\n{} {}\n255\n", surface.width, surface.height)?;
    out.write_all(&rgb(surface))
}

/// Writes `surface` as PNG.
///
/// # Errors
/// The writer's, and for a surface without pixels.
pub fn write_png(surface: &Surface, out: &mut impl Write) -> io::Result<()> {
    let mut encoder = png::Encoder::new(out, surface.width, surface.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&rgb(surface))?;
    writer.finish()?;
    Ok(())
}

/// Writes `surface` to the file `path`.
///
/// # Errors
/// [`DumpError`], which names the file.
pub fn screendump(surface: &Surface, path: &Path, format: DumpFormat) -> Result<(), DumpError> {
    if surface.bounds().is_none() {
        return Err(DumpError::Empty { path: path.into() });
    }
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        match format {
            DumpFormat::Ppm => write_ppm(surface, &mut out)?,
            DumpFormat::Png => write_png(surface, &mut out)?,
        }
        out.flush()
    };
    write().map_err(|source| DumpError::Write { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Surface {
        let mut s = Surface::new();
        s.resize(3, 2);
        s.pixels.copy_from_slice(&[0xFF_0000, 0x00_FF00, 0x00_00FF, 0x12_3456, 0, 0xFF_FFFF]);
        s
    }

    const BYTES: [u8; 18] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 0x12, 0x34, 0x56, 0, 0, 0, 255, 255, 255];

    #[test]
    fn ppm_is_header_and_bytes() {
        let mut out = vec![];
        write_ppm(&picture(), &mut out).unwrap();
        assert_eq!(&out[..11], b"P6\n3 2\n255\n");
        assert_eq!(&out[11..], BYTES);
    }

    #[test]
    fn png_decodes_to_the_same_pixels() {
        let mut out = vec![];
        write_png(&picture(), &mut out).unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(out)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (3, 2, png::ColorType::Rgb));
        assert_eq!(&bytes[..info.buffer_size()], BYTES);
    }

    #[test]
    fn errors_name_the_file() {
        let path = Path::new("/nowhere/at/all.png");
        let error = screendump(&picture(), path, DumpFormat::of(path)).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.png"), "{error}");
        let error = screendump(&Surface::new(), Path::new("x.ppm"), DumpFormat::Ppm).unwrap_err().to_string();
        assert!(error.contains("x.ppm"), "{error}");
        assert!("gif".parse::<DumpFormat>().is_err());
    }
}
