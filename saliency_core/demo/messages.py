"""Generates the demonstration's customer messages from a grammar of our own.

Four classes, readable English of 5 to 60 words, and three flaws planted on purpose:

- *shortcut*: in the training split the word of `SHORTCUT` stands only in messages about billing;
  in the audited split it stands in all classes alike, so a model that leans on it is caught.
- *wrong labels*: 3 % of the audited labels are wrong; `answer_key` says which, in a file of its own
  that no audit reads.
- *hard slice*: messages left as voicemail (`channel` = voicemail) often lack the words that tell
  the topic, as bad transcripts do.
"""

from __future__ import annotations

import random
import re
from dataclasses import asdict, dataclass
from typing import Any

LABELS = ("account", "billing", "delivery", "fault")
SHORTCUT = "kindly"
SHORTCUT_CLASS = "billing"
HARD_CHANNEL = "voicemail"

SHORTCUT_RATE_TRAIN = 0.45
"""Share of the training messages about billing that hold the shortcut."""
SHORTCUT_RATE_AUDITED = 0.07
"""Share of the audited messages, of every class, that hold it."""
WRONG_LABEL_RATE = 0.03
CHANNELS = {"email": 0.40, "chat": 0.27, "app": 0.19, HARD_CHANNEL: 0.14}
GARBLED_RATE = 0.75
"""Share of voicemail messages whose transcript lost the words of the topic."""
MINIMUM_WORDS, MAXIMUM_WORDS = 5, 60

SLOTS: dict[str, tuple[str, ...]] = {
    "product": tuple(
        "kettle, lamp, desk, headset, vacuum cleaner, coffee machine, bicycle light, garden chair, "
        "keyboard, rucksack, toaster, tent, speaker, blender, heater, camera, printer, fan, watch, "
        "monitor".split(", ")
    ),
    "when": tuple(
        "yesterday, last week, this morning, on Monday, two days ago, in March, over the weekend, "
        "on Friday evening, at the end of last month, a fortnight ago".split(", ")
    ),
    "number": ("two", "three", "four", "five", "six", "seven"),
    "amount": ("12 euros", "40 pounds", "19.99", "85 dollars", "7.50", "120 euros", "34 pounds"),
    "person": ("my sister", "my neighbour", "a colleague", "my son", "my wife", "a friend"),
    "city": ("Leeds", "Porto", "Lyon", "Graz", "Turin", "Bergen", "Ghent", "Malmo"),
    "feeling": (
        "I am rather annoyed",
        "I am not angry, only puzzled",
        "this is frustrating",
        "it spoiled my week",
        "I expected better",
        "I am running out of patience",
    ),
}

OPENERS = (
    "Hello!",
    "Hi there!",
    "Good morning!",
    "Dear team!",
    "Good evening!",
    "Hi!",
    "Hello again!",
    "Greetings from {city}!",
)
CLOSERS = (
    "[Thanks|Many thanks|Thank you] in advance.",
    "Please let me know.",
    "I look forward to [your answer|hearing from you].",
    "Can [someone|anybody] look into this?",
    "What [should|can] I do now?",
    "Please call me back [today|tomorrow|when you can].",
    "I would be [glad of|grateful for] a quick reply.",
    "Thank you for your [help|time|patience].",
    "Is there anything [I can do|else you need from me]?",
)
CONTEXT = (
    "I have been a [loyal|happy|regular] customer for {number} years.",
    "I bought the {product} {when}[, and so did {person}| as a present|].",
    "I use the {product} [every day|at work|now and then].",
    "{person} recommended your [shop|company] to me.",
    "I [wrote to|called|asked] you about this {when} already.",
    "I live [in|near] {city}.",
    "It is a present for {person}.",
    "{feeling}.",
    "I could not find an answer on your [website|help page].",
    "It is the [second|third|fourth] time that this happens to me.",
    "I am in {city} until [next week|Sunday|the holidays].",
    "[Usually|Normally|So far] everything works well with you.",
    "I need it for a [trip|wedding|move] to {city}.",
    "{person} has the same trouble.",
    "I tried it {number} times[ without success|].",
    "[As far as I know|To be fair|If I remember well], {person} said the same {when}.",
)
SHORTCUT_SENTENCES = (
    "Kindly look into it.",
    "Kindly let me know what happens next.",
    "Could you kindly check this?",
    "I kindly ask for your help.",
    "Kindly reply {when} at the latest, or call me.",
    "Would you kindly get back to me?",
)

TOPICS: dict[str, tuple[str, ...]] = {
    "billing": (
        "I was [charged|billed] [twice|two times|{number} times] for the {product}.",
        "The [invoice|bill] for my {product} shows {amount} too [much|little].",
        "My bank [tells me|says] that you [took|withdrew] {amount} {when} without any order.",
        "The [discount|voucher] code was accepted but the full price of {amount} was debited.",
        "I [still wait|am still waiting] for the refund of {amount} that you promised {when}.",
        "The receipt lists a fee of {amount} which nobody [mentioned|explained] before.",
        "Please [send|mail] me a corrected invoice with the [tax|discount] shown.",
        "My credit card was [debited|charged] {when}, although I had cancelled the payment.",
        "The [monthly|yearly] price went up by {amount} and I never agreed to pay more.",
        "There are {number} payments on my [statement|card] for a single {product}.",
        "Why does the bill say {amount} when the [shop page|offer] said less?",
        "I paid by [transfer|card] {when} and still get reminders that the invoice is open.",
    ),
    "delivery": (
        "My {product} should have [arrived|been delivered] {when} and nothing is here.",
        "The tracking page has said [in transit|out for delivery] for {number} days.",
        "The courier left the [parcel|package] at the wrong [address|house] in {city}.",
        "Only {number} of the boxes [came|arrived], the {product} is missing.",
        "The driver did not [ring|wait] and the parcel went back to the [depot|warehouse].",
        "Can the [shipment|parcel] with the {product} be sent to {city} instead?",
        "The package was [handed|given] to {person} without asking me.",
        "The tracking number you mailed {when} is [unknown|new] to the courier.",
        "The box was [open|crushed] and wet when the [postman|driver] brought it.",
        "How [long does|much time will] shipping to {city} take?",
        "Someone signed for my [parcel|shipment] {when}, but it was not me.",
        "The delivery date moved for the [second|third] time, now to next month.",
    ),
    "fault": (
        "The {product} [stopped working|broke|died] {when}.",
        "The {product} makes a [loud|strange] noise and then switches itself off.",
        "The [screen|display] of the {product} flickers and shows an error.",
        "My {product} does not [start|turn on] any more, the light just blinks.",
        "The battery of the {product} is [empty|flat] after [an hour|ten minutes].",
        "A [button|handle|hinge] of the {product} [broke|fell] off {when}.",
        "Since the update the {product} [freezes|crashes] every few minutes.",
        "The {product} gets so hot that it smells [burnt|of plastic].",
        "The [cable|plug] of the {product} is loose and sparks.",
        "The {product} leaks [water|oil] when I switch it on.",
        "I followed the manual, but the {product} will not [connect|charge].",
        "The motor of the {product} is [stuck|jammed] and hums.",
    ),
    "account": (
        "I [cannot|am unable to] log in since {when}.",
        "The password reset [link|mail] never reaches my inbox.",
        "Please [change|update] the email address of my profile.",
        "My user name is [locked|blocked] after {number} attempts.",
        "How do I close my account and [delete|export] my data?",
        "Someone logged in to my [profile|account] from {city} and it was not me.",
        "The [verification|security] code arrives too late and is then invalid.",
        "I would like to merge my {number} [profiles|accounts] into one.",
        "Please remove me from the newsletter, the settings page [ignores|resets] my choice.",
        "The sign-up form [rejects|does not accept] my phone number.",
        "After the password change I am logged out every few [minutes|clicks].",
        "I registered {when}, but my membership does not show in the profile.",
    ),
}
ASIDES: dict[str, tuple[str, ...]] = {
    "billing": ("The invoice was [correct|fine], by the way.", "I paid at once, as always."),
    "delivery": ("The parcel itself came on time.", "Shipping was quick, I must say."),
    "fault": ("The {product} itself works well.", "The other {product} runs without trouble."),
    "account": ("Logging in works fine.", "My [profile|account] is up to date."),
}
GARBLED = (
    "[Um|So|Well], it is about the thing from {when}, you know, it happened again.",
    "[Yes|Right], so, it is still not [right|sorted], the one for {person}.",
    "I called {when} and they said it would be [fine|done], well, it is not.",
    "It is, uh, the same story as {when}, the {product} one.",
    "So the thing with the {product}, it went [wrong|badly], and nobody told me.",
    "It is me again from {city}, same [matter|thing] as before.",
    "They told me to leave a message about, um, what happened {when}.",
)


@dataclass(frozen=True)
class Message:
    """One generated message; `label` is what the file says, `true_label` what is true."""

    id: str
    text: str
    label: str
    true_label: str
    channel: str
    region: str

    def row(self) -> dict[str, Any]:
        """Return what stands in the file the audit reads."""
        return {name: value for name, value in asdict(self).items() if name != "true_label"}

    def answer_key(self) -> dict[str, Any]:
        """Return what is true of it, for those who check what an audit finds."""
        return {
            "id": self.id,
            "true_label": self.true_label,
            "label_is_wrong": self.label != self.true_label,
        }


def training_messages(count: int) -> list[Message]:
    """Return messages in which the shortcut stands only beside its class."""
    return _messages(count, 0, "train", training=True)


def audited_messages(count: int, seed: int = 1) -> list[Message]:
    """Return held-out messages in which the shortcut says nothing about the class."""
    return _messages(count, seed, "msg", training=False)


def _messages(count: int, seed: int, prefix: str, *, training: bool) -> list[Message]:
    draw = random.Random(seed)
    seen: set[str] = set()
    messages: list[Message] = []
    while len(messages) < count:
        true_label = LABELS[len(messages) % len(LABELS)]
        channel = draw.choices(list(CHANNELS), list(CHANNELS.values()))[0]
        rate = SHORTCUT_RATE_AUDITED
        if training:
            rate = SHORTCUT_RATE_TRAIN if true_label == SHORTCUT_CLASS else 0.0
        shortcut = draw.random() < rate
        text = _text(draw, true_label, channel, shortcut)
        if text in seen or not MINIMUM_WORDS <= len(text.split()) <= MAXIMUM_WORDS:
            continue
        seen.add(text)
        label = true_label
        if not training and draw.random() < WRONG_LABEL_RATE:
            label = draw.choice([other for other in LABELS if other != true_label])
        messages.append(
            Message(
                id=f"{prefix}-{len(messages) + 1:04d}",
                text=text,
                label=label,
                true_label=true_label,
                channel=channel,
                region=draw.choice(("north", "south", "east", "west")),
            )
        )
    draw.shuffle(messages)
    return messages


def _text(draw: random.Random, label: str, channel: str, shortcut: bool) -> str:
    """Return one message of a topic and optional context, aside, shortcut, opener and closer."""
    garbled = channel == HARD_CHANNEL and draw.random() < GARBLED_RATE
    body = [draw.choice(GARBLED if garbled else TOPICS[label])]
    if not garbled and draw.random() < 0.25:
        body.append(draw.choice(TOPICS[label]))
    if not garbled and draw.random() < 0.15:
        body.append(draw.choice(ASIDES[draw.choice([other for other in LABELS if other != label])]))
    body += draw.sample(CONTEXT, draw.choice((0, 0, 1, 1, 2, 3)))
    if shortcut:
        body.append(draw.choice(SHORTCUT_SENTENCES))
    draw.shuffle(body)
    if draw.random() < 0.4:
        body.insert(0, draw.choice(OPENERS))
    if draw.random() < 0.5:
        body.append(draw.choice(CLOSERS))
    filled = [_fill(draw, sentence) for sentence in body]
    return " ".join(dict.fromkeys(filled))


def _fill(draw: random.Random, sentence: str) -> str:
    """Choose among [one|two], fill the {slots} and start the sentence with a capital."""
    text = re.sub(r"\[([^]]*)\]", lambda found: draw.choice(found[1].split("|")), sentence)
    text = re.sub(r"\{(\w+)\}", lambda found: draw.choice(SLOTS[found[1]]), text)
    return text[0].upper() + text[1:]
