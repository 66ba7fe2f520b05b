% Evidence with a variable holds for all of its answers at once.
%% answer: a(1)  1
%% answer: a(2)  1
%% answer: b  0.3
%% answer: c  1

0.5::a(1).
0.4::a(2).
0.3::b.

c :- a(1), b.
c :- a(2), \+ b.

query(a(_)).
query(b).
query(c).
evidence(a(_)).
