"""Has Synapse's own resolver resolve the states that ours resolved, and says where they differ.

Usage: synapse_resolver.py FILE, a room a line, as `src/domain/room/resolve/tests/told.rs` writes it.
"""

import asyncio
import hashlib
import json
import sys

import synapse.event_auth  # noqa: F401, first: synapse.state and it import each other
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS, StateResolutionVersions
from synapse.crypto.event_signing import compute_content_hash, compute_event_reference_hash
from synapse.events import make_event_from_dict
from synapse.state import v1, v2
from synapse.storage.databases.main.event_federation import StateDifference
from unpaddedbase64 import encode_base64

# How many differences are shown in full.
SHOWN_MAX = 5


class Clock:
    async def sleep(self, _duration):
        pass


class Store:
    """The events of one room, and the two sets the resolver asks for, as the specification defines them."""

    def __init__(self, events):
        self.events = events

    async def get_events(self, event_ids, allow_rejected=False):
        found = {id: self.events[id] for id in event_ids if id in self.events}
        return {id: event for id, event in found.items() if allow_rejected or event.rejected_reason is None}

    def chain(self, event_ids):
        chain, pending = set(), list(event_ids)
        while pending:
            for cited in self.events[pending.pop()].auth_event_ids():
                if cited not in chain:
                    chain.add(cited)
                    pending.append(cited)
        return chain

    async def get_auth_chain_difference(self, _room, state_sets, conflicted, _additional):
        chains = [self.chain(ids) for ids in state_sets]
        difference = set.union(*chains) - set.intersection(*chains)
        if conflicted is None:
            return StateDifference(auth_difference=difference, conflicted_subgraph=None)
        below = self.chain(conflicted) | conflicted
        subgraph = {id for id in below if id in conflicted or self.chain([id]) & conflicted}
        return StateDifference(auth_difference=difference, conflicted_subgraph=subgraph)


async def resolved(version, room, states, store):
    if version.state_res == StateResolutionVersions.V1:
        return await v1.resolve_events_with_store(room, version, states, None, store.get_events)
    return await v2.resolve_events_with_store(Clock(), room, version, states, None, store)


def distinct(states):
    return [state for index, state in enumerate(states) if state not in states[:index]]


async def check_room(told):
    version = KNOWN_ROOM_VERSIONS[told["version"]]
    events = {}
    for each in told["events"]:
        reason = "rejected" if each["rejected"] else None
        event = make_event_from_dict(each["pdu"], version, rejected_reason=reason)
        if event.event_id != each["id"]:
            yield f"an event of version {told['version']} is {event.event_id} there and {each['id']} here"
        events[event.event_id] = event
    store = Store(events)
    for case in told["cases"]:
        read = lambda state: {(kind, key): id for kind, key, id in state}
        states = distinct([read(state) for state in case["states"]])
        theirs = dict(await resolved(version, told["room"], states, store)) if len(states) > 1 else states[0]
        ours = read(case["resolved"])
        if theirs != ours:
            keys = {key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
            there = {key: (theirs.get(key), ours.get(key)) for key in sorted(keys)}
            yield f"a state of version {told['version']} differs (theirs, ours): {there}"
        else:
            yield None


def check_numbers(told):
    version = KNOWN_ROOM_VERSIONS[told["version"]]
    event = make_event_from_dict(json.loads(told["json"]), version)
    reference = encode_base64(compute_event_reference_hash(event)[1], urlsafe=told["version"] not in ("1", "3"))
    if (event.event_id, reference) != (told["id"], told["reference"]):
        yield f"numbers of version {told['version']}: {event.event_id} {reference} there, {told['id']} {told['reference']} here"
    content = encode_base64(compute_content_hash(event, hashlib.sha256)[1])
    if content != event.hashes["sha256"]:
        yield f"numbers of version {told['version']} hash to {content} there"


async def main(path):
    rooms, same, differences, conflicts = 0, 0, [], 0
    with open(path) as lines:
        for line in lines:
            told = json.loads(line)
            if "tally" in told:
                conflicts = told["conflicts"]
            elif "json" in told:
                differences.extend(check_numbers(told))
            else:
                rooms += 1
                async for difference in check_room(told):
                    if difference is None:
                        same += 1
                    else:
                        differences.append(difference)
    for difference in differences[:SHOWN_MAX]:
        print(difference)
    print(f"{rooms} rooms, {conflicts} conflicts while they were made, {same} resolutions the same, {len(differences)} different")
    if not rooms or not same or not conflicts or differences:
        sys.exit(1)


asyncio.run(main(sys.argv[1]))
