% Two draws without replacement with the library's own uniform choice.
%% answer: drawn(red,red)  0.3333333333333333
%% answer: drawn(red,blue)  0.3333333333333333
%% answer: drawn(blue,red)  0.3333333333333333
%% answer: same  0.3333333333333333

:- use_module(library(lists)).

drawn(X, Y) :-
    select_uniform(first, [red, red, blue], X, Rest),
    select_uniform(second, Rest, Y, _).
same :- drawn(X, X).

query(drawn(_, _)).
query(same).
