% A bracket that is never closed.
%% error: UnmatchedCharacter

0.3::a(1.
b :- a(1).

query(b).
