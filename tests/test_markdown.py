"""Text of any kind in Markdown."""

from clipfuse.markdown import one_line, plain, table


def test_nothing_in_a_text_is_markup():
    assert plain("a|b `c` [d](e) <script>") == r"a\|b \`c\` \[d\](e) \<script\>"
    assert plain("a\r\n# b\x07\u2028c") == "a # b c"
    assert one_line("  日本  語 ") == "日本 語"


def test_a_table_has_a_line_for_each_row():
    found = table(["name", "x"], [[plain("a|b"), "1"]])
    assert found.splitlines() == ["| name | x |", "| --- | ---: |", r"| a\|b | 1 |"]
