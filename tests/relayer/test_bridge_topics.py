"""Topics of network servers: whose an uplink is, and what may be subscribed to."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from corechain_relayer.bridge.errors import ForeignTopic, MalformedUpload, UnknownTopic
from corechain_relayer.bridge.settings import FILTERS, Settings, filters_of
from corechain_relayer.bridge.topics import uplink_of
from corechain_relayer.bridge.uplinks import _in_our_words
from corechain_relayer.mqtt import broker, link
from relayer.bridges import NOBODY
from relayer.uploads import CHIRPSTACK, TTN

TTN_TOPIC = "v3/weather@ttn/devices/roof/up"
CHIRPSTACK_TOPIC = "application/17d0/device/0101010101010101/event/up"


@pytest.mark.parametrize("prefix", ["", "mine/", "a/b/c/"])
def test_the_topic_says_which_network_server_it_is(prefix):
    for topic, body, name in (
        (TTN_TOPIC, TTN, "ttn"),
        (CHIRPSTACK_TOPIC, CHIRPSTACK, "chirpstack"),
    ):
        uplink = uplink_of(prefix + topic, body)
        assert uplink.format.name == name
        uplink.check()


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "v3/weather@ttn/devices/roof/join",
        "v3/weather@ttn/devices/roof/down/queued",
        "v3/weather@ttn/devices//up",
        "xv3/weather@ttn/devices/roof/up",
        f"{TTN_TOPIC}/more",
        f"{TTN_TOPIC}\n",
        "application/17d0/device/0101010101010101/event/status",
        "gateway/0016c001f153a14c/event/up",
    ],
)
def test_what_is_no_topic_of_uplinks_is_refused(topic):
    with pytest.raises(UnknownTopic):
        uplink_of(topic, TTN)


def test_a_message_on_the_topic_of_another_device_is_refused():
    for topic, body in (
        (TTN_TOPIC.replace("roof", "cellar"), TTN),
        (CHIRPSTACK_TOPIC.replace("0101", "0202", 1), CHIRPSTACK),
        (CHIRPSTACK_TOPIC, CHIRPSTACK.replace(b'"devEui"', b'"other"')),
    ):
        with pytest.raises(ForeignTopic):
            uplink_of(topic, body).check()
    with pytest.raises(MalformedUpload):
        uplink_of(TTN_TOPIC, b"[]").check()


def test_hexadecimal_of_either_case_is_one_device():
    body = CHIRPSTACK.replace(b"0101010101010101", b"0004A30B001C0530")
    uplink_of("application/1/device/0004a30b001c0530/event/up", body).check()


def test_topics_are_filters_of_mqtt():
    assert filters_of(FILTERS) == [
        "v3/+/devices/+/up",
        "application/+/device/+/event/up",
    ]
    assert filters_of(" v3/# , x/+/y,") == ["v3/#", "x/+/y"]
    for wrong in ("", ",", "v3/#/up", "v3/a+/up", "v3/\0", "v3#"):
        with pytest.raises(ValueError, match="topic filter"):
            filters_of(wrong)


def test_settings_refuse_wrong_topics_and_a_password_without_a_user(tmp_path):
    given = {"gateway_url": NOBODY, "deployment": tmp_path, "data_dir": tmp_path}
    with pytest.raises(ValidationError, match="topic filter"):
        Settings(**given, mqtt_topics="v3/#/up")
    with pytest.raises(ValidationError, match="BRIDGE_MQTT_PASSWORD needs a user"):
        Settings(**given, mqtt_url="mqtt://localhost", mqtt_password="secret")


def test_whatever_the_connection_tells_to_set_is_a_setting_of_the_bridge():
    """Its sentences name settings of the relayer, where they were written first."""
    text = " ".join(Path(str(module.__file__)).read_text() for module in (link, broker))
    named = set(re.findall(r"BRIDGE_MQTT_[A-Z_]+", _in_our_words(text)))
    assert {"BRIDGE_MQTT_TOPICS", "BRIDGE_MQTT_PASSWORD", "BRIDGE_MQTT_CA"} <= named
    assert {name.removeprefix("BRIDGE_").lower() for name in named} <= Settings.model_fields.keys()
