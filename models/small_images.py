"""The networks of the tables on CIFAR-100: for images of about 32 pixels, which the first
convolution leaves at their size. They are built of timm's parts; timm has neither by name. It is
imported when one is made, since that takes seconds.
"""

from torch import nn


def wide_resnet28_8(channels: int, fresh: bool) -> nn.Module:
    """WideResNet-28-8: 3 x 4 blocks of 128, 256 and 512 channels that normalise before they
    convolve, without dropout; 23.4 million weights.

    Source: Zagoruyko and Komodakis 2016, "Wide Residual Networks".
    """
    from timm.layers import BatchNormAct2d, ClassifierHead, create_conv2d
    from timm.models.resnetv2 import ResNetV2

    network = ResNetV2(
        [4, 4, 4],
        channels=(128, 256, 512),
        num_classes=0,
        stem_chs=16,
        basic=True,
        bottle_ratio=1.0,
        norm_layer=BatchNormAct2d,
        conv_layer=create_conv2d,
    )
    network.stem = _stem(channels, 16)
    network.head = ClassifierHead(network.num_features, 1000)
    return network


def cifar_resnet18(channels: int, fresh: bool) -> nn.Module:
    """ResNet-18 without pooling behind the first convolution, which is 3 x 3 and of stride 1; 11.2
    million weights.
    """
    import timm

    network = timm.create_model("resnet18", num_classes=1000, zero_init_last=False)
    network.conv1, network.maxpool = _stem(channels, 64), nn.Identity()
    return network


def _stem(channels: int, width: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
