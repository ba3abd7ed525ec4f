"""How a head gets the vectors of a decoder: sections below its model, as text.

With {} where there are braces to fill in: {name} is that of the head.
"""

LISTENER = """
[components.{name}.model.tok2vec]
@architectures = "spacy-lgu.TransformerListener.v1"
grad_factor = 1.0
upstream = "*"

{why}[components.{name}.model.tok2vec.pooling]
@layers = "{pooling}"
"""
# spaCy builds this model before it is known how wide the decoder's vectors are, and predicts on
# copies of sentences, which have no vectors of a transformer component: a listener would read
# zeros there.
OWN_DECODER = """
# When it predicts, spaCy's entity_linker computes each sentence anew, without what the transformer
# has found. So it has a decoder of its own: as it was pretrained (causal, frozen), with a linear
# layer on its vectors. Where a transformer beside it is frozen or has an adapter, both share the
# weights in memory.
[components.{name}.model.tok2vec]
@layers = "chain.v1"

[components.{name}.model.tok2vec.*.decoder]
@architectures = "spacy-lgu.Tok2VecLGU.v1"
name = ${{paths.decoder}}
revision = ${{paths.revision}}
unmasking = "c"
n_layers = null
repeat = 0
read_previous = false
quantization = "{quantization}"
dtype = "auto"
products = "exact"
tuning = "frozen"
gradient_checkpointing = false
window = null
stride = null
tokenizer_config = {{}}
lora = null
optimizer = null
self_test = true
grad_factor = 1.0
max_batch_items = "auto"
base_weights = "auto"

[components.{name}.model.tok2vec.*.decoder.get_spans]
@span_getters = "spacy-lgu.doc_spans.v1"

[components.{name}.model.tok2vec.*.decoder.pooling]
@layers = "reduce_mean.v1"

[components.{name}.model.tok2vec.*.projection]
@layers = "with_array.v1"
pad = 0

[components.{name}.model.tok2vec.*.projection.layer]
@layers = "Linear.v1"
nO = 64
nI = null
init_W = null
init_b = null
"""
PAPER_POOLING = """\
# As in the paper; under a causal mask, the last subtoken (reduce_last.v1) has seen the whole word.
"""
