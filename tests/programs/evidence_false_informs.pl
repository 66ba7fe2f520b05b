% Evidence that a conjunction is false makes each of its parts less likely.
%% answer: a  0.42857142857142855
%% answer: b  0.2857142857142857

0.6::a.
0.5::b.

both :- a, b.

query(a).
query(b).
evidence(both, false).
