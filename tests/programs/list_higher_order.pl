% call/2, maplist/2 and forall/2 on probabilistic predicates.
%% answer: check(lamp)  0.9
%% answer: check(fan)  0.8
%% answer: check(radio)  0.5
%% answer: pair  0.72
%% answer: all_work  0.36

:- use_module(library(apply)).
:- use_module(library(lists)).

0.9::works(lamp).
0.8::works(fan).
0.5::works(radio).

check(X) :- call(works, X).
pair :- maplist(works, [lamp, fan]).
all_work :- forall(member(X, [lamp, fan, radio]), works(X)).

query(check(_)).
query(pair).
query(all_work).
