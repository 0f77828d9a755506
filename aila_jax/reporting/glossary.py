"""Terms of the page, explained where they stand and in its glossary."""

GLOSSARY: dict[str, str] = {
    "λ": (
        "Locality: how strongly attention is held inside blocks. 0 is ordinary attention. At 1 the score of"
        " every key outside the query's block is lowered by the whole margin."
    ),
    "τ": (
        "Temperature: divides all attention scores, the margin included. Below 1 attention is sharper, above"
        " 1 flatter."
    ),
    "block": (
        "Tokens that belong together under the run's partition: a fixed window, a clause up to a punctuation"
        " mark, a line, a record field."
    ),
    "perplexity": (
        "exp of the mean loss: the number of equally likely choices the model is as unsure as. Lower is"
        " better. Per token, word and byte are different scales; compare models with different tokenizers per"
        " word or per byte only."
    ),
    "loss": (
        "−log of the probability that the model gave to the token that came, in nats: 0 is certain, 0.69 one"
        " of two, 6.9 one of a thousand."
    ),
    "nats": "Units of the natural logarithm. One nat is 1.44 bits; one nat of loss more is 2.7 times less likely.",
    "accuracy": "Share of targets that the model ranks first.",
    "attention entropy": (
        "How spread attention is, in bits: 0 is one key, 1 is two equal keys, 7 is uniform over 128 keys. Mean"
        " over queries, layers and heads."
    ),
    "block mass": "Share of attention that stays inside the query's own block, from 0 to 100 %.",
    "relation": (
        "Which keys count as inside for a query, layer by layer: its block, and with some relations pointers of"
        " earlier blocks, a sink, or blocks that move from layer to layer. Block mass is then over all of it."
    ),
    "sink": (
        "The first token of each window and document, inside for every query. Its own query sees itself alone, so"
        " that nothing passes between blocks through it."
    ),
    "pointer": "A token of an earlier block that later blocks find inside: its last token, say.",
    "horizon": "For how many later blocks a pointer is inside.",
    "shift": "How far blocks move from one layer to the next, so that information crosses their borders with depth.",
    "gate": (
        "A factor on all weights outside that is 0 at λ = 1: there nothing outside is attended to, exactly."
    ),
    "reach": (
        "The tokens that can have influenced a prediction, through all layers, where every weight outside is"
        " exactly 0. No other token can, whatever it is."
    ),
    "lift": "Block mass divided by what uniform attention would have. ×1 means no preference for the block.",
    "guaranteed": (
        "What holds for every text, whatever the scores: the margin outweighs the largest score that the"
        " model's parameters allow. Block mass is at least so high and entropy at most so large. It is a"
        " proof's figure, not a measurement, and says nothing of what predictions depend on."
    ),
    "uniform attention": "Attention that is equal on all keys a query may attend to: what no preference gives.",
    "margin": (
        "δ: how far scores inside the block lie above those outside, in nats: imposed by the dial, and"
        " measured where that was asked for."
    ),
    "query": "The token that attends: from whose place the model predicts the next token.",
    "key": "The token that is attended to.",
    "head": "One of the attentions that run side by side in a layer, each with its own weights.",
}
