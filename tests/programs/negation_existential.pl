% A negated goal with an unbound variable means that no instance holds.
%% answer: empty  0.21
%% answer: nobody_above(0)  0.21
%% answer: nobody_above(1)  0.42
%% answer: nobody_above(2)  0.7
%% answer: nobody_above(3)  1

0.5::guest(1).
0.4::guest(2).
0.3::guest(3).

empty :- \+ guest(_).
nobody_above(N) :- between(0, 3, N), \+ above(N).
above(N) :- guest(X), X > N.

query(empty).
query(nobody_above(_)).
