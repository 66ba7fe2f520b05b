% Evidence that is certain already changes nothing.
%% answer: a  0.3
%% answer: b  0.5

0.3::a.
sure.
0.5::b; 0.5::c.
one :- b.
one :- c.
never :- fail.

query(a).
query(b).
evidence(sure).
evidence(one).
evidence(never, false).
