% Evidence on an independent part of the program changes nothing.
%% answer: a  0.3
%% answer: b  0.3

0.3::a.
0.6::x.
0.7::y.
b :- a.
z :- x.
z :- y.

query(a).
query(b).
evidence(z).
