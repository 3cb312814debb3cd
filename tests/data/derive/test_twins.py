import pytest
from toy_calls import ALL, BOOK, FIND, PLAY, RESERVE, WEATHER, tool

from calltune.config.data import DeriveConfig
from calltune.data.derive.twins import similarity, twins

THRESHOLD = DeriveConfig().twin_similarity


def test_another_name_for_the_same_is_a_twin() -> None:
    assert twins(BOOK, ALL, THRESHOLD) == [RESERVE]
    assert twins(RESERVE, ALL, THRESHOLD) == [BOOK]


def test_finding_is_no_booking() -> None:
    assert similarity(BOOK, FIND) == 0.0
    assert not twins(FIND, ALL, THRESHOLD)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            tool("Movies_1_FindMovies", "Search for movies by location, genre or other attributes.", genre="string"),
            tool("Media_1_FindMovies", "Find movies by genre and optionally director.", genre="string"),
        ),
        (
            tool("searchLibraryCatalog", "Search for books in the library catalog"),
            tool("searchCatalog", "Search the catalog of an archive or library"),
        ),
        (
            tool("track_order", "Tracks the shipment of an order", id="string"),
            tool("track_shipment", "Track the progress of a shipment", id="string"),
        ),
    ],
)
def test_versions_of_a_service_are_twins(one, other) -> None:
    assert similarity(one, other) == similarity(other, one) >= THRESHOLD


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            tool("get_menu_items", "Find items on the coffee shop menu.", query="string", fields="array"),
            tool("get_addons", "Get the options and add-ons of a menu item.", query="string", menu_item_id="string"),
        ),
        (tool("alarm_set", "Set an alarm."), tool("alarm_remove", "Remove an alarm.")),
        (WEATHER, PLAY),
    ],
)
def test_tools_of_one_agent_are_not(one, other) -> None:
    assert similarity(one, other) < THRESHOLD


def test_a_tool_is_not_its_own_twin() -> None:
    assert similarity(BOOK, BOOK) == 1.0
    assert not twins(BOOK, [BOOK], THRESHOLD)
