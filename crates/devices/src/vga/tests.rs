//! Tests of the video card.
