% Quoted atoms with blanks, capitals and dots; a quoted lower-case atom keeps its quotes.
%% answer: said('hello world')  0.3
%% answer: said('Anna')  0.4
%% answer: said(yes)  0.5
%% answer: said('a.b')  0.6
%% answer: greeting  0.3
%% answer: name('Anna')  0.4
%% answer: agreed  0.5

0.3::said('hello world').
0.4::said('Anna').
0.5::said(yes).
0.6::said('a.b').

greeting :- said('hello world').
name(X) :- said(X), X = 'Anna'.
agreed :- said(yes).

query(said(_)).
query(greeting).
query(name(_)).
query(agreed).
