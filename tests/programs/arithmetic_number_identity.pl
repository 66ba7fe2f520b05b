% 2 and 2.0 are equal as numbers (=:=), but they are different terms.
%% answer: m(2)  0.3
%% answer: m(2.0)  0.6
%% answer: equal  0.72
%% answer: integer_two  0.3
%% answer: float_two  0.6
%% answer: differ  0.18

0.3::m(2).
0.6::m(2.0).

equal :- m(X), X =:= 2.
integer_two :- m(X), X = 2.
float_two :- m(X), X = 2.0.
differ :- m(X), m(Y), X \= Y.

query(m(_)).
query(equal).
query(integer_two).
query(float_two).
query(differ).
