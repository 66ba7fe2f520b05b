% Two values of one annotated disjunction never hold together.
%% answer: both  0
%% answer: one  1
%% answer: different  0

0.45::side(heads); 0.55::side(tails).

both :- side(heads), side(tails).
one :- side(heads).
one :- side(tails).
different :- side(X), side(Y), X \= Y.

query(both).
query(one).
query(different).
