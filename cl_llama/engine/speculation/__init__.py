"""Speculative decoding: tokens are guessed and run beside a text's last one, and kept if right.

A decoding sequence's step runs its last token and some guesses after it, for little more than one
token costs where the weights' way from memory is what takes the time. The request's own sampler
then chooses from the rows one after the other, as in plain decoding, and goes on while its choice
is the guess. So every token is chosen from the same logits, by the same settings, masks and draws
as without guesses, and greedy and seeded texts stay what they are. This is matching, not the
rejection sampling of Leviathan et al. (arXiv 2211.17192), which accepts more of a sampled text but
draws other tokens than the seed alone would.

Guesses come from the text itself (`lookup`: Saxena's prompt lookup decoding) or from a smaller
model (`draft`: Leviathan et al.).
"""
