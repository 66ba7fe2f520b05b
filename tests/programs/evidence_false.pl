% Evidence that an atom is false, written in both ways.
%% answer: a  0
%% answer: b  0
%% answer: c  0
%% answer: some  0

0.2::a.
0.3::b.
0.4::c.

some :- a.
some :- b.
other :- b.
other :- c.

query(a).
query(b).
query(c).
query(some).
evidence(other, false).
evidence(\+ a).
