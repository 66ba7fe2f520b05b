% A rule arrow with nothing behind it.
%% error: ParseError

0.3::a.
b :- .

query(b).
