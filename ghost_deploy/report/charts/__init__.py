"""Charts as inline SVG that take their colours from the page, each mark with its place in the
document. No library draws them: none would let a mark name the place of its value."""
