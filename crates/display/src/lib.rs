//! What a display device publishes and front ends pull: surfaces, dirty rectangles, screenshots.
