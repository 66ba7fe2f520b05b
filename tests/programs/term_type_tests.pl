% Type tests on the values of a choice.
%% answer: kind(integer)  0.1
%% answer: kind(float)  0.2
%% answer: kind(atom)  0.3
%% answer: kind(compound)  0.4
%% answer: number  0.3

0.1::value(7); 0.2::value(7.5); 0.3::value(seven); 0.4::value(f(7)).

kind(integer) :- value(X), integer(X).
kind(float) :- value(X), float(X).
kind(atom) :- value(X), atom(X).
kind(compound) :- value(X), compound(X).
number :- value(X), number(X).

query(kind(_)).
query(number).
