"""An architecture of NNI's NasBench201 space, in both notations."""

STRING = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
SAMPLE = {
    "cell/0_1": "conv_3x3", "cell/0_2": "none", "cell/1_2": "skip_connect", "cell/0_3": "avg_pool_3x3",
    "cell/1_3": "conv_1x1", "cell/2_3": "none",
}  # fmt: skip
