"""The stages of the line, in order; a verb takes nouns and gives a noun, and no stage imports another."""
