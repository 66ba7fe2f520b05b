% The highest of three dice with four faces, by negation.
%% answer: highest(1)  0.015625
%% answer: highest(2)  0.109375
%% answer: highest(3)  0.296875
%% answer: highest(4)  0.578125

die(1).
die(2).
die(3).
1/4::face(D, 1); 1/4::face(D, 2); 1/4::face(D, 3); 1/4::face(D, 4) :- die(D).

highest(M) :- between(1, 4, M), shown(M), \+ above(M).
shown(M) :- face(_, M).
above(M) :- face(_, F), F > M.

query(highest(_)).
