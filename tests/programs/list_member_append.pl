% member/2 and append/3 take a list apart.
%% answer: has(a)  0.3
%% answer: has(b)  1
%% answer: has(c)  0.7
%% answer: has(d)  0.7
%% answer: longer([a, b, e])  0.3
%% answer: longer([b, c, d, e])  0.7
%% answer: split([],[a, b])  0.3
%% answer: split([a],[b])  0.3
%% answer: split([a, b],[])  0.3
%% answer: first(a)  0.3
%% answer: first(b)  0.7

:- use_module(library(lists)).

0.3::list([a, b]); 0.7::list([b, c, d]).

has(X) :- list(L), member(X, L).
longer(L) :- list(K), append(K, [e], L).
split(A, B) :- list([a | T]), append(A, B, [a | T]).
first(X) :- list(L), append([X], _, L).

query(has(_)).
query(longer(_)).
query(split(_, _)).
query(first(_)).
