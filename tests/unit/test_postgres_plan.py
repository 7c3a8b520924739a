"""What the source remembers survives its JSON form, and plans never mix up two re-reads."""

import json

from bridge.sources.postgres.plan import Phase, Reread, State


def reloaded(state: State) -> State:
    return State.load(json.loads(json.dumps(state.dump())))


def test_a_state_comes_back_as_it_was() -> None:
    state = State(system_id="71", timeline=2, partial_lsn=99).plan("orders").plan("items", heals=True)
    state = state.move("orders", key=("a", "b"), last=("1", "\udce9\\'\t\U0001f69a"), rows=7, phase=Phase.PAUSED)
    assert reloaded(state) == state


def test_nothing_stored_is_the_state_before_the_first_start() -> None:
    assert State.load({}) == State()


def test_a_new_plan_takes_the_place_of_the_old_one_under_a_new_number() -> None:
    state = State().plan("orders").move("orders", last=("9",), rows=9).plan("items").plan("orders")
    assert state.rereads["orders"] == Reread(3)
    assert state.rereads["items"] == Reread(2)
    assert state.next_number == 4
