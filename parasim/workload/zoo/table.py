"""The networks of the zoo by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parasim.workload.blocks import Network
from parasim.workload.data import DataSpec
from parasim.workload.model_options import Cnn, Mlp, Quadratic
from parasim.workload.zoo import alexnet, inception, lenet, recurrent, resnet, small, transformers, vgg

__all__ = ["ALIASES", "ZOO", "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of network.

    Attributes
    ----------
    options
        Dataclass of its options; its documentation says what the network is.
    build
        From options and data (or None) to the network; raises `ScenarioError` if they do not fit.
    paper
        Where it was published.
    """

    options: type
    build: Callable[[Any, DataSpec | None], Network]
    paper: str


_SURVEY = "Yook, Lee, Yoo 2020 (survey of parallel training)"
_LENET = "LeCun, Bottou, Bengio, Haffner 1998"
_ALEXNET = "Krizhevsky 2014 (arXiv:1404.5997)"
_VGG = "Simonyan, Zisserman 2015"
_RESNET = "He, Zhang, Ren, Sun 2016"
_WIDE = "Zagoruyko, Komodakis 2016"
_INCEPTION = "Szegedy et al. 2016"
_LSTM = "Zaremba, Sutskever, Vinyals 2014"
_GPT2 = "Radford et al. 2019"
_BERT = "Devlin et al. 2019"

ZOO: Mapping[str, Entry] = {
    "mlp": Entry(Mlp, small.mlp, _SURVEY),
    "cnn": Entry(Cnn, small.cnn, "none: a small network for the digits"),
    "quadratic": Entry(Quadratic, small.quadratic, "none: a test function of optimisation"),
    "lenet5": Entry(lenet.LeNet5, lenet.lenet5, _LENET),
    "alexnet": Entry(alexnet.AlexNet, alexnet.alexnet, _ALEXNET),
    **{f"vgg{depth}": Entry(vgg.Vgg, vgg.vgg(depth), _VGG) for depth in vgg.CONVOLUTIONS},
    **{
        f"resnet{depth}": Entry(resnet.CifarResNet, resnet.cifar_resnet(depth), f"{_RESNET}, section 4.2")
        for depth in (20, 32, 44, 56, 110)
    },
    **{
        f"resnet{depth}": Entry(resnet.ResNet, resnet.resnet(depth), f"{_RESNET}, section 4.1")
        for depth in resnet.BLOCKS
    },
    "wrn-28-10": Entry(resnet.WideResNet, resnet.wide_resnet(28, 10), _WIDE),
    "inception-v3": Entry(inception.InceptionV3, inception.inception_v3, _INCEPTION),
    "lstm": Entry(recurrent.Lstm, recurrent.lstm, _LSTM),
    "gpt": Entry(transformers.Gpt, transformers.gpt, _GPT2),
    "gpt2-small": Entry(transformers.Gpt2, transformers.gpt2("small", 12, 768, 12), _GPT2),
    "gpt2-medium": Entry(transformers.Gpt2, transformers.gpt2("medium", 24, 1024, 16), _GPT2),
    "gpt2-large": Entry(transformers.Gpt2, transformers.gpt2("large", 36, 1280, 20), _GPT2),
    "gpt2-xl": Entry(transformers.Gpt2, transformers.gpt2("xl", 48, 1600, 25), _GPT2),
    "bert-base": Entry(transformers.Bert, transformers.bert("base", 12, 768, 12), _BERT),
    "bert-large": Entry(transformers.Bert, transformers.bert("large", 24, 1024, 16), _BERT),
}
"""Every network, by kind."""

ALIASES: Mapping[str, str] = {
    "bert_base": "bert-base",
    "bert_large": "bert-large",
    "gpt2": "gpt2-small",
    "inception_v3": "inception-v3",
    "wrn_28_10": "wrn-28-10",
}
"""Other spellings in use, and the kinds they mean."""
